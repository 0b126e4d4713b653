//! A client that comes from a million addresses: memory has its ceiling, the limit of the network stops it, and an honest client
//! keeps its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::{Connection, ask};
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::flood::{self, Write};
use serde_json::{Value, json};

const ADDRESSES: usize = 1_000_000;
const NETWORKS: usize = 16;
/// What a network may do at once.
const OF_A_NETWORK: usize = 500;
/// What the honest client may do, and what it does: a little more.
const HONEST: usize = 200;
/// The store, in bytes.
const STORE: usize = 256 << 10;
/// What Envoy's memory may grow by after the first tenth: less than 10 bytes for each address that is new.
const GROWTH: u64 = 8 << 20;

/// Every limit refills once an hour: what is admitted is what it holds, to the request.
fn limit(name: &str, key: &str, burst: usize) -> Value {
    json!({"name": name, "key": [key], "rate": "1/hour", "burst": burst, "missing": "skip"})
}

/// An Envoy with a limiter of few places that believes the client about its address.
async fn start(limits: &[Value]) -> Envoy {
    let config = json!({"forwarded": {"place": 2}, "limits": limits, "store": {"size": format!("{STORE}B")}});
    let nothing = json!([{"match": {"prefix": "/"}, "direct_response": {"status": 204}}]);
    let listener = Listener::new("l").routes(nothing).plugin(&Plugin::new("rate-limit", config));
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let options = Options { workers: 2, ..Options::default() };
    Envoy::start_with(&flood::pipelined(bootstrap(nowhere, &[listener])), &options).await
}

fn rotating() -> Write {
    Arc::new(|n: usize| {
        let (network, host) = (n % NETWORKS, n / NETWORKS);
        let address = format!("10.{network}.{}.{}", host / 256, host % 256);
        format!("GET / HTTP/1.1\r\nhost: h.test\r\nx-forwarded-for: {address}\r\n\r\n")
    })
}

/// Sends so many while an honest client asks for a little more than its share; gives back how many of each passed.
async fn rotate(envoy: &Envoy, addresses: usize) -> (usize, usize) {
    let to = envoy.address();
    let honest = tokio::spawn(async move {
        let mut connection = Connection::open(to, http::Version::HTTP_11).await.unwrap();
        let mut passed = 0;
        for _ in 0..HONEST + 50 {
            let asked = ask(to, "GET", "/").header("x-forwarded-for", "192.0.2.7").header("x-honest", "1");
            passed += usize::from(connection.send(asked).await.unwrap().status == 204);
        }
        passed
    });
    let write = rotating();
    let passed = |statuses: &BTreeMap<u16, usize>| {
        assert!(statuses.keys().all(|s| [204, 429].contains(s)), "{statuses:?}");
        statuses.get(&204).copied().unwrap_or(0)
    };
    let mut admitted = passed(&flood::send(to, 0..addresses / 10, &write).await);
    let settled = envoy.resident_bytes();
    admitted += passed(&flood::send(to, addresses / 10..addresses, &write).await);
    let grown = envoy.resident_bytes().saturating_sub(settled);
    println!("{admitted} of {addresses} admitted, {grown} bytes more than after the first tenth");
    assert!(grown < GROWTH, "{grown} bytes more");
    (admitted, honest.await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_a_network_stops_a_million_addresses() {
    let envoy = start(&[
        limit("network", "{client.ip/16,48}", OF_A_NETWORK),
        limit("address", "{client.ip/32,64}", HONEST),
    ])
    .await;
    assert_eq!(rotate(&envoy, ADDRESSES).await, (NETWORKS * OF_A_NETWORK, HONEST));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_without_a_limit_for_their_network_crowd_out_each_other_and_nobody_else() {
    let mut crowded = limit("address", "{client.ip/32,64}", 2);
    crowded["match"] = json!({"headers": [{"name": "x-honest", "absent": true}]});
    let envoy = start(&[crowded, limit("honest", "{header.x-honest}", HONEST)]).await;
    let (admitted, honest) = rotate(&envoy, ADDRESSES / 5).await;
    assert_eq!(honest, HONEST);
    // An entry takes more than 16 bytes; strangers start with the debts of those whose places they take.
    let most = STORE / 16 * 2;
    assert!((1_000..=most).contains(&admitted), "{admitted} admitted by a store that has room for {most}");
}
