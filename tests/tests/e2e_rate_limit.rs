//! rate-limit in a real Envoy.

use std::time::Instant;

use portcullis_tests::bootstrap::{Listener, Plugin, WatchedListener, bootstrap};
use portcullis_tests::client::{Connection, ask};
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::upstream::Upstream;
use serde_json::json;

#[tokio::test]
async fn a_burst_passes_once_however_many_workers_there_are() {
    for workers in [1, 2, 4, 8] {
        let upstream = Upstream::start().await;
        // A token comes back every ten minutes: what is admitted during the test is the burst, to the request.
        let plugin = Plugin::new(
            "rate-limit",
            json!({
                "limits": [{"name": "l", "key": ["{client.ip}"], "rate": "6/hour", "burst": 100}]
            }),
        );
        let options = Options { workers, ..Options::default() };
        let envoy = Envoy::start_with(
            &bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)]),
            &options,
        )
        .await;
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let to = envoy.address();
                tokio::spawn(async move {
                    let mut connection = Connection::open(to, http::Version::HTTP_11).await.unwrap();
                    let mut limited = 0;
                    for _ in 0..30 {
                        let answer = connection.send(ask(to, "GET", "/quiet")).await.unwrap();
                        limited += usize::from(answer.status == 429);
                    }
                    limited
                })
            })
            .collect();
        let mut limited = 0;
        for task in tasks {
            limited += task.await.unwrap();
        }
        assert_eq!((upstream.seen(), limited), (100, 380), "{workers} workers");
    }
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back_and_an_admission_how_much_is_left() {
    let upstream = Upstream::start().await;
    let plugin = Plugin::new(
        "rate-limit",
        json!({"limits": [{"name": "l", "key": ["{client.ip}"], "rate": "1/minute", "burst": 1}]}),
    );
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)])).await;
    let first = ask(envoy.address(), "GET", "/").send().await;
    assert_eq!((first.status, first.header("ratelimit-policy").as_str()), (200, "\"l\";q=1;w=60"));
    assert!(first.header("ratelimit").starts_with("\"l\";r=0;t="), "{}", first.header("ratelimit"));
    let second = ask(envoy.address(), "GET", "/").send().await;
    assert_eq!((second.status, second.reason().as_str()), (429, "rate_limited"));
    assert_eq!(second.headers.get_all("ratelimit").iter().count(), 1, "not added again on the way out");
    let wait: u64 = second.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let grpc = ask(envoy.address(), "POST", "/p.S/M").grpc(b"").send().await;
    assert_eq!(grpc.grpc_status(), Some(8));
}

#[tokio::test]
async fn a_forged_forwarded_address_is_another_bucket_only_behind_a_trusted_hop() {
    let upstream = Upstream::start().await;
    let plugin = |name: &str| {
        Plugin::new(
            "rate-limit",
            json!({
                "name": name, "limits": [{"name": "l", "key": ["{client.ip}"], "rate": "1/hour", "burst": 1}]
            }),
        )
    };
    let edge = Listener::new("edge").plugin(&plugin("edge"));
    let inner = Listener::new("inner").manager(json!({"xff_num_trusted_hops": 1})).plugin(&plugin("inner"));
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[edge, inner])).await;
    let from = async |listener: &str, forwarded: &str| {
        ask(envoy.listener(listener), "GET", "/").header("x-forwarded-for", forwarded).send().await.status
    };
    assert_eq!(from("edge", "192.0.2.1").await, 200);
    assert_eq!(from("edge", "192.0.2.2").await, 429, "at the edge the peer is the client, whatever it says");
    assert_eq!(from("inner", "192.0.2.1").await, 200);
    assert_eq!(from("inner", "192.0.2.2").await, 200);
    assert_eq!(from("inner", "10.0.0.1, 192.0.2.2").await, 429, "the last hop's word counts");
}

#[tokio::test]
async fn ten_thousand_keys_have_each_their_own_burst_however_many_workers_there_are() {
    for workers in [1, 2, 4, 8] {
        let upstream = Upstream::start().await;
        let config = json!({
            "limits": [{"name": "l", "key": ["{header.x-key}"], "rate": "1/hour", "burst": 1}], "store": {"size": "64MiB"}
        });
        let plugin = Plugin::new("rate-limit", config);
        let options = Options { workers, ..Options::default() };
        let listener = Listener::new("l").plugin(&plugin);
        let envoy = Envoy::start_with(&bootstrap(upstream.address(), &[listener]), &options).await;
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                let to = envoy.address();
                tokio::spawn(async move {
                    let mut connection = Connection::open(to, http::Version::HTTP_11).await.unwrap();
                    // Each key comes from two tasks, which go through the keys in the same order.
                    for key in (0..10_000).skip(task / 2).step_by(8) {
                        let asked = ask(to, "GET", "/quiet").header("x-key", format!("key-{key}"));
                        connection.send(asked).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(upstream.seen(), 10_000, "{workers} workers");
    }
}

/// Bounds that hold however slow the machine is: by when the run had begun, and since when it had not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods, reason = "what a rate admits is counted against the time that it had")]
async fn a_run_admits_the_burst_and_what_the_rate_gives_to_one_request() {
    const BURST: f64 = 500.0;
    const PER_SECOND: f64 = 100.0;
    for workers in [1, 2, 4, 8] {
        let upstream = Upstream::start().await;
        let config =
            json!({"limits": [{"name": "l", "key": ["everyone"], "rate": "100/second", "burst": 500}]});
        let listener = Listener::new("l").plugin(&Plugin::new("rate-limit", config));
        let options = Options { workers, ..Options::default() };
        let envoy = Envoy::start_with(&bootstrap(upstream.address(), &[listener]), &options).await;
        let to = envoy.address();
        let before = Instant::now();
        assert_eq!(ask(to, "GET", "/quiet").send().await.status, 200);
        let begun = Instant::now();
        let clients: Vec<_> = (0..8)
            .map(|_| {
                tokio::spawn(async move {
                    let mut connection = Connection::open(to, http::Version::HTTP_11).await.unwrap();
                    let mut refused = 0;
                    // Until it has met the limit so often that the rate has given something.
                    while refused < 150 {
                        let answer = connection.send(ask(to, "GET", "/quiet")).await.unwrap();
                        refused += usize::from(answer.status == 429);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        // One more is refused; what the rate gave until it was sent has been admitted.
        let sent = loop {
            let sent = Instant::now();
            if ask(to, "GET", "/quiet").send().await.status == 429 {
                break sent;
            }
        };
        let ended = Instant::now();
        let admitted = upstream.seen() as f64;
        let least = BURST + (sent - begun).as_secs_f64() * PER_SECOND - 1.0;
        let most = BURST + (ended - before).as_secs_f64() * PER_SECOND + 1.0;
        println!("{workers} workers: {admitted} admitted, from {least:.1} to {most:.1} are right");
        assert!((least..=most).contains(&admitted), "{workers} workers: {least} to {most}, not {admitted}");
    }
}

#[tokio::test]
async fn an_update_of_the_configuration_in_mid_run_forgets_nothing() {
    let upstream = Upstream::start().await;
    // The second configuration has another limit and other numbers for the first one's refusals; the count goes on.
    let first = json!({"limits": [{"name": "l", "key": ["everyone"], "rate": "6/hour", "burst": 100}]});
    let mut second = first.clone();
    second["limits"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "m", "key": ["{client.ip}"], "rate": "9000/second"}));
    let with = |config: &serde_json::Value| {
        let plugin = Plugin::new("rate-limit", config.clone());
        bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)])
    };
    let (watched, config) = WatchedListener::new(with(&first));
    let options = Options { workers: 4, ..Options::default() };
    let envoy = Envoy::start_with(&config, &options).await;
    let offer = async |times: usize| {
        let to = envoy.address();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                tokio::spawn(async move {
                    for _ in 0..times {
                        ask(to, "GET", "/quiet").send().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    };
    offer(8).await;
    assert_eq!(upstream.seen(), 64);
    watched.put(&with(&second));
    let ((), ()) = tokio::join!(
        offer(8),
        envoy.wait_until("the listener is updated", async || {
            let updates = envoy.prometheus().await;
            updates.lines().any(|l| l.starts_with("envoy_listener_manager_listener_in_place_updated{} 1"))
        })
    );
    offer(8).await;
    assert_eq!(upstream.seen(), 100);
}

#[tokio::test]
async fn a_request_that_envoy_redirects_internally_is_charged_once() {
    let upstream = Upstream::start().await;
    let config = json!({"limits": [{"name": "l", "key": ["{client.ip}"], "rate": "3/hour"}]});
    let routes = json!([
        {"match": {"prefix": "/go"}, "route": {"cluster": "upstream", "internal_redirect_policy": {"max_internal_redirects": 1}}},
        {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    ]);
    let listener = Listener::new("l").plugin(&Plugin::new("rate-limit", config)).routes(routes);
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    let go = || {
        let to = envoy.address();
        ask(to, "GET", "/go")
            .header("x-answer-status", "302")
            .header("x-answer-header", format!("location=http://{to}/landed"))
    };
    for left in [2, 1, 0] {
        let answer = go().send().await;
        assert_eq!((answer.status, answer.json()["path"].as_str()), (302, Some("/landed")));
        assert!(answer.header("ratelimit").starts_with(&format!("\"l\";r={left};")), "{:?}", answer.headers);
    }
    assert_eq!(go().send().await.status, 429);
    assert_eq!(upstream.seen(), 6);
    let forged = ask(envoy.address(), "GET", "/").header("x-envoy-original-url", "http://a/").send().await;
    assert_eq!(forged.status, 429, "the header alone buys nothing");
}

#[tokio::test]
async fn guessing_is_limited_and_success_is_not() {
    let upstream = Upstream::start().await;
    let config = json!({"limits": [
        {"name": "guessing", "key": ["{client.ip}"], "rate": "3/hour", "settle": {"statuses": ["401"]}}
    ]});
    let listener = Listener::new("l").plugin(&Plugin::new("rate-limit", config));
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    let status = async |status: &str| {
        ask(envoy.address(), "GET", "/").header("x-answer-status", status).send().await.status
    };
    for _ in 0..10 {
        assert_eq!(status("200").await, 200);
    }
    for _ in 0..3 {
        assert_eq!(status("401").await, 401);
    }
    assert_eq!(status("200").await, 429);
}

#[tokio::test]
async fn requests_in_flight_are_counted_across_workers_and_given_back() {
    let upstream = Upstream::start().await;
    let config = json!({"limits": [{"name": "l", "key": ["everyone"], "in_flight": 5}]});
    let listener = Listener::new("l").plugin(&Plugin::new("rate-limit", config));
    let options = Options { workers: 4, ..Options::default() };
    let envoy = Envoy::start_with(&bootstrap(upstream.address(), &[listener]), &options).await;
    let tasks: Vec<_> = (0..20)
        .map(|_| tokio::spawn(ask(envoy.address(), "GET", "/").header("x-answer-hold", "1").send()))
        .collect();
    let gauge = "portcullis_limited_requests_in_flight{plugin=\"rate-limit\",rule=\"l\"}";
    envoy
        .wait_until("twenty decisions", async || {
            envoy
                .prometheus()
                .await
                .lines()
                .any(|l| l.starts_with("portcullis_decisions_total") && l.ends_with(" 15"))
        })
        .await;
    // The five were admitted before, and may still be on their way.
    envoy.wait_until("five are there", async || upstream.seen() == 5).await;
    assert_eq!(envoy.metric(gauge).await, Some(5.0));
    upstream.release();
    let mut passed = 0;
    for task in tasks {
        passed += usize::from(task.await.unwrap().status == 200);
    }
    assert_eq!(passed, 5);
    envoy.wait_until("all are given back", async || envoy.metric(gauge).await == Some(0.0)).await;
    assert_eq!(ask(envoy.address(), "GET", "/").send().await.status, 200);
}

#[tokio::test]
async fn rotating_addresses_meet_the_limit_of_their_network_and_an_honest_client_keeps_its_own() {
    let upstream = Upstream::start().await;
    let config = json!({
        "forwarded": {"place": 2},
        "limits": [
            {"name": "network", "key": ["{client.ip/16,48}"], "rate": "1/hour", "burst": 250},
            {"name": "address", "key": ["{client.ip/32,64}"], "rate": "1/hour", "burst": 5}
        ],
        "store": {"size": "256KiB"}
    });
    let listener = Listener::new("l").plugin(&Plugin::new("rate-limit", config));
    let options = Options { workers: 4, ..Options::default() };
    let envoy = Envoy::start_with(&bootstrap(upstream.address(), &[listener]), &options).await;
    let from = |address: String| ask(envoy.address(), "GET", "/quiet").header("x-forwarded-for", address);
    for _ in 0..2 {
        assert_eq!(from("192.0.2.7".into()).send().await.status, 200);
    }
    let before = envoy.resident_bytes();
    let tasks: Vec<_> = (0..4_u32)
        .map(|network| {
            let to = envoy.address();
            tokio::spawn(async move {
                let mut connection = Connection::open(to, http::Version::HTTP_11).await.unwrap();
                let mut passed = 0;
                for n in 0..5_000_u32 {
                    let address = format!("10.{network}.{}.{}", n / 250, n % 250);
                    let asked = ask(to, "GET", "/quiet").header("x-forwarded-for", address);
                    passed += u32::from(connection.send(asked).await.unwrap().status == 200);
                }
                passed
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 250, "the network's limit stops the rotation");
    }
    let grown = envoy.resident_bytes().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes more for 20,000 addresses");
    for _ in 0..3 {
        assert_eq!(from("192.0.2.7".into()).send().await.status, 200);
    }
    assert_eq!(from("192.0.2.7".into()).send().await.status, 429);
}

#[tokio::test]
async fn a_grpc_status_that_comes_behind_the_body_settles_as_the_http_status_that_it_stands_for() {
    let upstream = Upstream::start().await;
    let config = json!({"limits": [
        {"name": "guessing", "key": ["{client.ip}"], "rate": "3/hour", "settle": {"statuses": ["401", "403"]}}
    ]});
    let everything = json!([{"match": {"prefix": "/"}, "route": {"cluster": "upstream-h2"}}]);
    let listener = Listener::new("l").plugin(&Plugin::new("rate-limit", config)).routes(everything);
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    let settled = "portcullis_settled_cost_total{plugin=\"rate-limit\",rule=\"guessing\"}";
    let call = async |status: u32| {
        let seen = upstream.seen();
        let answer = ask(envoy.address(), "POST", "/p.S/M").header("x-answer-grpc", status.to_string());
        let answer = answer.grpc(b"m").send().await;
        assert_eq!((answer.status, answer.grpc_status()), (200, Some(status)));
        assert!(upstream.seen() > seen, "the limit answered");
        answer.trailers.contains_key("grpc-status")
    };
    for _ in 0..10 {
        assert!(call(0).await, "the status has to come behind the body");
        assert!(call(5).await);
    }
    assert_eq!(
        envoy.metric(settled).await.unwrap_or(0.0),
        0.0,
        "answers that do not count gave everything back"
    );
    for (status, total) in [(16, 1.0), (7, 2.0), (16, 3.0)] {
        assert!(call(status).await);
        // The trailers are read when the stream is over, which may be after the client has them.
        envoy.wait_until("the answer is settled", async || envoy.metric(settled).await == Some(total)).await;
    }
    let limited = ask(envoy.address(), "POST", "/p.S/M").grpc(b"m").send().await;
    assert_eq!(limited.grpc_status(), Some(8));
}
