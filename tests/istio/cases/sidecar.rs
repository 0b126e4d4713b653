use std::rc::Rc;

use portcullis_tests::tokens::Signer;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{demo, tokens};
use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::manifests;
use crate::proxy::{Proxy, SIDECAR};

const SECRET: &str = "a secret of at least thirty-two bytes";

pub(crate) async fn verifies_with_a_secret_of_its_environment(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let port = Proxy::port();
    let mut objects = manifests::read("sidecar.yaml");
    let sidecar = manifests::named(&mut objects, "Sidecar", "orders");
    assert_eq!(sidecar["spec"]["ingress"][0]["captureMode"], "NONE");
    sidecar["spec"]["ingress"][0]["port"]["number"] = port.into();
    // Istio binds it to the pod's address, which this machine does not have.
    sidecar["spec"]["ingress"][0]["bind"] = "127.0.0.1".into();
    sidecar["spec"]["ingress"][0]["defaultEndpoint"] = upstream.address().to_string().into();
    // Nobody gives this proxy the certificates that it would speak TLS with.
    objects.push(json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "clear", "namespace": "orders"}, "spec": {"mtls": {"mode": "DISABLE"}}
    }));
    plane.apply(&objects).await;
    let proxy = Proxy::start(&plane, SIDECAR, port, &[("TOKEN_SECRET", SECRET)]).await;
    proxy.until_plugins(1).await;
    proxy.until("/health", 200).await;

    let plugin = proxy.plugins().await.pop().expect("a plugin");
    assert_eq!(
        plugin.pointer("/vm_config/environment_variables/host_env_keys"),
        Some(&json!(["TOKEN_SECRET"]))
    );
    assert!(!proxy.config_dump().await.to_string().contains(SECRET), "the admin interface shows the secret");

    let token = |secret: &str| {
        let claims = json!({"iss": "https://backoffice.example.com", "aud": "orders", "sub": "carol", "exp": tokens::now() + 600});
        Signer::hmac("shared", secret.as_bytes()).token("HS256", &claims)
    };
    let carol = proxy.get("/orders/1").bearer(&token(SECRET)).send().await;
    assert_eq!(carol.status, 200, "{}", carol.text());
    assert_eq!(carol.json()["headers"]["x-user"], json!(["carol"]));
    for (token, reason) in
        [(token(&SECRET.to_uppercase()), "token_invalid"), (demo::token("ann", 600), "token_invalid")]
    {
        let refused = proxy.get("/orders/1").bearer(&token).send().await;
        assert_eq!((refused.status, refused.reason().as_str()), (401, reason));
    }
    assert_eq!(proxy.get("/orders/1").send().await.reason(), "token_missing");
}
