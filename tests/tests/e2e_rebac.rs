//! rebac behind jwt-auth, in a real Envoy.

use portcullis_tests::client::ask;
use portcullis_tests::envoy::Envoy;
use portcullis_tests::examples::{self, Ports};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{demo, paths};

#[tokio::test]
async fn one_user_is_let_in_and_another_is_refused() {
    let upstream = Upstream::start().await;
    let example = examples::read(&paths::root().join("envoy/rebac.yaml"));
    let envoy = Envoy::start(&examples::with_ports(example, Ports::free(upstream.address()))).await;
    for (subject, method, path, status, word) in [
        ("ann", "GET", "/orders/1", 200, ""),
        ("ann", "PUT", "/orders/1", 403, "relation_denied"),
        ("bob", "GET", "/orders/1", 403, "relation_denied"),
        ("bob", "PUT", "/orders/2", 200, ""),
        ("ann", "GET", "/orders/2", 403, "relation_denied"),
        ("ann", "GET", "/elsewhere", 403, "unmatched"),
    ] {
        let token = demo::token(subject, 600);
        let answer = ask(envoy.address(), method, path).bearer(&token).send().await;
        assert_eq!(answer.status, status, "{subject} {method} {path}: {}", answer.text());
        if status != 200 {
            assert_eq!(answer.reason(), word, "{subject} {method} {path}");
        }
    }
    assert_eq!(ask(envoy.address(), "GET", "/orders/1").send().await.status, 401);
    let grpc =
        ask(envoy.address(), "POST", "/orders/1").bearer(&demo::token("bob", 600)).grpc(b"").send().await;
    assert_eq!(grpc.grpc_status(), Some(7), "{:?}", grpc.headers);
}
