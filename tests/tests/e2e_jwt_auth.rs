//! jwt-auth in a real Envoy.

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::ask;
use portcullis_tests::envoy::Envoy;
use portcullis_tests::gate::{Gate, config, config_with};
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::upstream::Upstream;
use serde_json::json;

#[tokio::test]
async fn a_token_is_checked_and_handed_on() {
    let upstream = Upstream::start().await;
    let signer = Signer::p256("ec");
    let plugin = Plugin::new(
        "jwt-auth",
        json!({
            "providers": {"corp": {
                "issuer": "https://id.test",
                "audiences": ["orders"],
                "algorithms": ["RS256", "ES256"],
                "keys": {"jwks": {"keys": [Signer::rsa("rsa").jwk(), signer.jwk()]}},
                "claim_headers": {"x-user": "{subject}"}
            }},
            "rules": [{"name": "all", "match": {"path": "/**"}, "require": {"any": ["corp"]}}],
            "unmatched": "deny"
        }),
    );
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)])).await;
    let refused = ask(envoy.address(), "GET", "/x").header("x-user", "root").send().await;
    assert_eq!((refused.status, refused.reason().as_str()), (401, "token_missing"));
    for token in
        [signer.token("ES256", &tokens::claims()), Signer::rsa("rsa").token("RS256", &tokens::claims())]
    {
        for _ in 0..2 {
            let passed =
                ask(envoy.address(), "GET", "/x").header("x-user", "root").bearer(&token).send().await;
            assert_eq!(passed.status, 200, "{}", passed.text());
            assert_eq!(passed.json()["headers"]["x-user"], json!(["ann"]));
            assert_eq!(passed.json()["headers"]["authorization"], json!(null));
        }
    }
    let grpc = ask(envoy.address(), "POST", "/pkg.S/M").grpc(b"hi").send().await;
    assert_eq!((grpc.status, grpc.grpc_status()), (200, Some(16)));
}

fn with(changes: serde_json::Value) -> serde_json::Value {
    let mut claims = tokens::claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[tokio::test]
async fn rules_grant_by_scope_role_and_claim_and_say_what_is_missing() {
    let rule = |name: &str, require: serde_json::Value| json!({"name": name, "match": {"path": format!("/{name}")}, "require": require});
    let rules = json!([
        rule("all-scopes", json!({"any": ["corp"], "scopes": ["a", "b"]})),
        rule("any-scope", json!({"any": ["corp"], "scopes": {"any": ["c", "d"]}})),
        rule("roles", json!({"any": ["corp"], "roles": {"any": ["chief", "buyer"]}})),
        rule(
            "claims",
            json!({"any": ["corp"], "claims": [
                {"any": [{"value": "claim.plan", "one_of": ["gold", "silver"]}, {"value": "claim.level", "equals": 7}]},
                {"value": "subject", "prefix": "an"},
                {"value": "claim.blocked", "forbidden": true}
            ]})
        ),
        rule("maybe", json!({"optional": ["corp"], "scopes": ["a"]}))
    ]);
    let changes = [
        ("/rules", rules),
        ("/providers/corp/roles", json!(["claim.realm_access.roles"])),
        ("/resource_metadata", json!({"resource": "https://api.test/v1", "scopes_supported": ["a", "b"]})),
    ];
    let gate = Gate::start(config_with(&changes)).await;
    for (path, claims, want) in [
        ("/all-scopes", json!({"scope": "b x a"}), ""),
        ("/all-scopes", json!({"scp": ["a", "b"]}), ""),
        ("/all-scopes", json!({"scope": "a"}), "scope_insufficient"),
        ("/any-scope", json!({"scope": "d"}), ""),
        ("/any-scope", json!({"scope": "a b"}), "scope_insufficient"),
        ("/roles", json!({"realm_access": {"roles": ["buyer"]}}), ""),
        ("/roles", json!({"roles": ["buyer"]}), "claims_insufficient"),
        ("/claims", json!({"plan": "gold"}), ""),
        ("/claims", json!({"level": 7}), ""),
        ("/claims", json!({"level": "7"}), "claims_insufficient"),
        ("/claims", json!({"plan": "gold", "blocked": false}), "claims_insufficient"),
        ("/claims", json!({"plan": "gold", "sub": "bob"}), "claims_insufficient"),
        ("/maybe", json!({"scope": "a"}), ""),
        ("/maybe", json!({}), "scope_insufficient"),
    ] {
        // Twice: the second time the token is remembered.
        let token = Signer::rsa("rsa").token("RS256", &with(claims.clone()));
        for _ in 0..2 {
            let answer = gate.get(path).bearer(&token).send().await;
            let want_status = if want.is_empty() { 200 } else { 403 };
            assert_eq!(answer.status, want_status, "{path} {claims}: {}", answer.text());
            assert!(want.is_empty() || answer.reason() == want, "{path} {claims}: {}", answer.text());
        }
    }
    assert_eq!(gate.get("/maybe").send().await.status, 200, "without a token nothing is asked of it");
    let metadata = "resource_metadata=\"https://api.test/.well-known/oauth-protected-resource/v1\"";
    let challenge = async |path: &str, token: Option<&str>| {
        let request = gate.get(path);
        let request = if let Some(token) = token { request.bearer(token) } else { request };
        request.send().await.header("www-authenticate")
    };
    let plain = Signer::rsa("rsa").token("RS256", &tokens::claims());
    assert_eq!(challenge("/all-scopes", None).await, format!("Bearer realm=\"api\", {metadata}"));
    assert_eq!(
        challenge("/all-scopes", Some(&plain)).await,
        format!("Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"a b\", {metadata}")
    );
    assert_eq!(
        challenge("/any-scope", Some(&plain)).await,
        format!("Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"c\", {metadata}")
    );
    let document = gate.get("/.well-known/oauth-protected-resource/v1").send().await;
    assert_eq!((document.status, document.header("content-type").as_str()), (200, "application/json"));
    assert_eq!(
        document.json(),
        json!({
            "resource": "https://api.test/v1",
            "authorization_servers": ["https://id.test"],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["a", "b"]
        })
    );
    let grpc = ask(gate.envoy.address(), "POST", "/all-scopes").bearer(&plain).grpc(b"hi").send().await;
    assert_eq!(grpc.grpc_status(), Some(7));
}

#[tokio::test]
async fn a_claim_chooses_the_route() {
    let upstream = Upstream::start().await;
    let changes = [("/providers/corp/claim_headers", json!({"x-plan": "{claim.plan}"}))];
    let routes = json!([
        {"match": {"prefix": "/", "headers": [{"name": "x-plan", "string_match": {"exact": "gold"}}]}, "direct_response": {"status": 299}},
        {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    ]);
    let plugin = Plugin::new("jwt-auth", config_with(&changes));
    let listener = Listener::new("l").plugin(&plugin).routes(routes);
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    let token = |plan: &str| Signer::rsa("rsa").token("RS256", &with(json!({"plan": plan})));
    let get = async |token: String| {
        ask(envoy.address(), "GET", "/").bearer(&token).header("x-plan", "gold").send().await.status
    };
    assert_eq!(get(token("gold")).await, 299);
    assert_eq!(get(token("free")).await, 200, "the client's own header chooses nothing");
}

#[tokio::test]
async fn chosen_callers_are_told_and_a_share_is_enforced() {
    let upstream = Upstream::start().await;
    let rules = json!([
        {"name": "half", "match": {"path": "/half"}, "require": {"any": ["corp"]}, "percent": 50},
        {"name": "none", "match": {"path": "/none"}, "require": {"any": ["corp"]}, "percent": 0},
        {"name": "all", "match": {"path": "/**"}, "require": {"any": ["corp"], "scopes": ["a"]}}
    ]);
    let changes = [
        ("/rules", rules),
        ("/explain", json!({"when": {"claim.staff": "true"}})),
        ("/publish_payload", json!(true)),
        ("/preflights", json!("pass")),
    ];
    let plugin = Plugin::new("jwt-auth", config_with(&changes));
    let log = "explained %FILTER_STATE(wasm.portcullis.jwt-auth.explain:PLAIN)% payload %FILTER_STATE(wasm.portcullis.jwt-auth.payload:PLAIN)%";
    let listener = Listener::new("l").plugin(&plugin).access_log(log);
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    let token = |claims| Signer::rsa("rsa").token("RS256", &with(claims));
    let get = async |path: &str, token: &str| ask(envoy.address(), "GET", path).bearer(token).send().await;
    let refused = get("/x", &token(json!({"staff": true}))).await.header("x-portcullis-explain");
    let start = "jwt-auth;rule=\"all\";verdict=deny;reason=\"scope_insufficient\";source=checked;us=";
    assert!(refused.starts_with(start), "{refused}");
    let other =
        ask(envoy.address(), "GET", "/x").bearer(&token(json!({}))).header("x-staff", "true").send().await;
    assert_eq!(other.header("x-portcullis-explain"), "");
    assert_eq!(get("/x", &token(json!({"staff": true, "scope": "a"}))).await.status, 200);
    envoy.wait_for_log("explained jwt-auth;rule=\"all\";verdict=allow;reason=\"\";source=checked;us=").await;
    envoy.wait_for_log("payload {").await;
    let mut refusals = 0;
    for _ in 0..200 {
        refusals += u32::from(get("/half", "x").await.status == 401);
        assert_eq!(get("/none", "x").await.status, 200);
    }
    // Two hundred coins: outside of 50 to 150 once in a trillion runs.
    assert!((50..=150).contains(&refusals), "{refusals}");
    let preflight = ask(envoy.address(), "OPTIONS", "/x").header("origin", "https://a.test");
    assert_eq!(preflight.send().await.status, 401, "half a preflight is none");
    let preflight = ask(envoy.address(), "OPTIONS", "/x")
        .header("origin", "https://a.test")
        .header("access-control-request-method", "PUT");
    assert_eq!(preflight.send().await.status, 200);
}

#[tokio::test]
async fn tenants_workloads_and_deny_lists() {
    let mut config = config();
    let corp = config["providers"]["corp"].clone();
    let mut tenants = corp.clone();
    tenants.as_object_mut().unwrap().remove("issuer");
    tenants["issuer_template"] = "https://login.test/{claim.tid}/v2.0".into();
    tenants["issuer_values"] = json!({"claim.tid": ["t1", "t2"]});
    let mut workloads = corp.clone();
    workloads.as_object_mut().unwrap().remove("issuer");
    workloads["trust_domain"] = "td.test".into();
    workloads["profile"] = "spiffe".into();
    let mut svid_key = Signer::p256("svid").jwk();
    svid_key["use"] = "jwt-svid".into();
    workloads["keys"]["jwks"]["keys"] = json!([svid_key]);
    config["providers"]["tenants"] = tenants;
    config["providers"]["workloads"] = workloads;
    config["providers"]["corp"]["deny"] =
        json!({"jti": ["stolen"], "sub": ["mallory"], "issued_before": tokens::now() - 1000});
    config["shared_namespace"] = true.into();
    config["rules"][0]["require"] = json!({"any": ["corp", "tenants", "workloads"]});
    let gate = Gate::start(config).await;
    let rsa = |claims| Signer::rsa("rsa").token("RS256", &with(claims));
    gate.accepts(&rsa(json!({"jti": "1"}))).await;
    gate.refuses(&rsa(json!({})), "token_invalid").await;
    gate.refuses(&rsa(json!({"jti": "stolen"})), "token_invalid").await;
    gate.refuses(&rsa(json!({"jti": "1", "sub": "mallory"})), "token_invalid").await;
    gate.refuses(&rsa(json!({"jti": "1", "iat": tokens::now() - 2000})), "token_invalid").await;
    let tenant =
        |tid: &str, iss: &str| rsa(json!({"tid": tid, "iss": format!("https://login.test/{iss}/v2.0")}));
    gate.accepts(&tenant("t1", "t1")).await;
    gate.refuses(&tenant("t1", "t2"), "token_invalid").await;
    gate.refuses(&tenant("t3", "t3"), "token_invalid").await;
    let svid = |claims| Signer::p256("svid").token("ES256", &with(claims));
    gate.accepts(&svid(json!({"sub": "spiffe://td.test/ns/a/sa/b"}))).await;
    gate.refuses(&svid(json!({"sub": "spiffe://other.test/ns/a"})), "token_invalid").await;
    gate.refuses(&svid(json!({"sub": "spiffe://td.test/"})), "token_invalid").await;
    assert_eq!(gate.causes().await.get("revoked"), Some(&4));
}

/// What a browser has to be told on a refusal too, for otherwise a script sees a broken network and no 401.
#[tokio::test]
async fn cors_stands_in_front() {
    let upstream = Upstream::start().await;
    let cors = json!({
        "name": "cors",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}
    });
    let policy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": "https://app.test"}],
        "allow_methods": "GET, PUT",
        "allow_headers": "authorization"
    });
    let routes = json!([{
        "match": {"prefix": "/"}, "route": {"cluster": "upstream"}, "typed_per_filter_config": {"cors": policy}
    }]);
    let plugin = Plugin::new("jwt-auth", config());
    let front = Listener::new("front").filter(cors.clone()).plugin(&plugin).routes(routes.clone());
    let behind = Listener::new("behind").plugin(&plugin).filter(cors).routes(routes);
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[front, behind])).await;
    for (listener, refusal, preflight) in [("front", "https://app.test", 200), ("behind", "", 401)] {
        let to = envoy.listener(listener);
        let refused = ask(to, "GET", "/x").header("origin", "https://app.test").send().await;
        let told = refused.header("access-control-allow-origin");
        assert_eq!((refused.status, told.as_str()), (401, refusal), "{listener}");
        let asked = ask(to, "OPTIONS", "/x").header("origin", "https://app.test");
        let asked = asked.header("access-control-request-method", "PUT").send().await;
        assert_eq!(asked.status, preflight, "{listener}");
    }
    assert_eq!(upstream.seen(), 0);
}

/// Envoy sends the request through the filters once more, as the first pass left it.
#[tokio::test]
async fn a_redirected_request_needs_its_token_again() {
    let upstream = Upstream::start().await;
    let signer = Signer::p256("ec");
    let kept = config_with(&[("/providers/corp/forward_token", json!(true))]);
    let routes = json!([
        {"match": {"prefix": "/go"}, "route": {"cluster": "upstream", "internal_redirect_policy": {}}},
        {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    ]);
    for (config, reached, reason) in [(config(), 1, "token_missing"), (kept, 2, "")] {
        let before = upstream.seen();
        let metrics = Plugin::new("metrics", json!({"routes": ["/go", "/landed"]}));
        let jwt_auth = Plugin::new("jwt-auth", config);
        let listener = Listener::new("l").plugin(&metrics).plugin(&jwt_auth).routes(routes.clone());
        let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
        let answer = ask(envoy.address(), "GET", "/go")
            .header("x-answer-status", "302")
            .header("x-answer-header", format!("location=http://{}/landed", envoy.address()))
            .bearer(&signer.token("ES256", &tokens::claims()))
            .send()
            .await;
        assert_eq!(answer.json()["reason"].as_str().unwrap_or_default(), reason, "{}", answer.text());
        assert_eq!(upstream.seen() - before, reached);
        let followed = r#"route="/landed",method="GET",code="302",grpc="",source="gateway",reason=""} 1"#;
        envoy.wait_until(followed, async || envoy.prometheus().await.contains(followed)).await;
    }
}
