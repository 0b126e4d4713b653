//! rate-limit across the loss of a VM: Envoy makes a new one, and the count goes on to the request.

use std::net::SocketAddr;

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::ask;
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::upstream::Upstream;
use serde_json::json;

/// Eight clients, each of which asks so many times, on a connection of its own each time so that all workers have a part.
async fn offer(to: SocketAddr, times: usize) {
    let client = || async move {
        for _ in 0..times {
            ask(to, "GET", "/quiet").send().await;
        }
    };
    let clients: Vec<_> = (0..8).map(|_| tokio::spawn(client())).collect();
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn a_vm_that_traps_in_mid_run_loses_no_count_and_adds_none() {
    for workers in [1, 4] {
        let upstream = Upstream::start().await;
        // A token comes back every ten minutes: what is admitted during the test is the burst, to the request.
        let config = json!({"limits": [{"name": "l", "key": ["everyone"], "rate": "6/hour", "burst": 200}]});
        let listener = Listener::new("l").plugin(&Plugin::new("rate-limit-trap", config));
        let options = Options { workers, ..Options::default() };
        let envoy = Envoy::start_with(&bootstrap(upstream.address(), &[listener]), &options).await;
        let to = envoy.address();
        // Each VM says so when it is configured.
        let configured = || envoy.log().matches("buckets can owe something at once").count();
        offer(to, 5).await;
        assert_eq!(upstream.seen(), 40, "{workers} workers");
        for round in 1..=2 {
            let before = configured();
            let trap = async {
                let answer = ask(to, "GET", "/").header("x-test-trap", "1").send().await;
                assert_eq!(answer.status, 503, "{workers} workers: the VM did not trap");
            };
            tokio::join!(offer(to, 3), trap);
            // Envoy makes a VM anew when a request comes for it, a while after the trap.
            envoy
                .wait_until("a new VM", async || {
                    ask(to, "GET", "/quiet").send().await;
                    configured() > before
                })
                .await;
            assert!(upstream.seen() <= 200, "{workers} workers, round {round}: {}", upstream.seen());
        }
        offer(to, 20).await;
        assert_eq!(upstream.seen(), 200, "{workers} workers");
        assert_eq!(ask(to, "GET", "/quiet").send().await.status, 429, "{workers} workers");
    }
}
