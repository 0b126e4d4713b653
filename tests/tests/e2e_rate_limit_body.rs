//! rate-limit's second module in a real Envoy: answers of two providers' shapes settle what they say they cost.

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::{Response, ask};
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

const OPENAI: &str = concat!(
    "data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n",
    "data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\\"usage\\\":{\\\"completion_tokens\\\":0}\"}}],\"usage\":null}\n\n",
    "data: {\"id\":\"c-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,\"total_tokens\":29}}\n\n",
    "data: [DONE]\n\n",
);
const ANTHROPIC: &str = concat!(
    "event: message_start\n",
    "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n",
    "event: content_block_delta\n",
    "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
    "event: message_delta\n",
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);
/// `{"usage":{"prompt_tokens":1,"completion_tokens":1}}`, as gzip packs it.
const GZIPPED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x2a\x2d\x4e\x4c\x4f\x55\xb2\xaa\x56\x2a\x28\xca\xcf\x2d\x28\x89\x2f\xc9\xcf\x4e\xcd\x2b\x56\xb2\x32\xd4\x51\x4a\x06\x0a\xe4\xa4\x96\x64\xe6\xe7\x21\x44\x6b\x6b\x01\x95\x47\x4d\x7e\x33\x00\x00\x00";

/// Two budgets, each with a metric of its own.
fn config() -> Value {
    let budget = |name: &str, pointers: &[&str]| {
        json!({
            "name": name, "key": ["everyone"], "rate": "1000/hour", "cost": {"fixed": 5},
            "settle": {"json": pointers, "absent": "reserved", "max": 5_000}
        })
    };
    json!({"limits": [
        budget("in", &["/usage/prompt_tokens", "/usage/input_tokens", "/message/usage/input_tokens"]),
        budget("out", &["/usage/completion_tokens", "/usage/output_tokens"])
    ]})
}

struct Chat {
    envoy: Envoy,
    _upstream: Upstream,
}

impl Chat {
    async fn start(cluster: &str) -> Chat {
        let upstream = Upstream::start().await;
        let everything = json!([{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]);
        let plugin = Plugin::new("rate-limit-body", config()).called("rate-limit");
        let listener = Listener::new("l").plugin(&plugin).routes(everything);
        let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
        Chat { envoy, _upstream: upstream }
    }

    /// An answer of this type and body.
    async fn answer(&self, kind: &str, more: &str, body: &[u8]) -> Response {
        let ask = ask(self.envoy.address(), "POST", "/v1/chat").header("x-answer-type", kind);
        let answer = ask.header("x-answer-header", more).body(body).send().await;
        if answer.status == 200 {
            assert_eq!(&*answer.body, body, "nothing is changed");
        }
        answer
    }

    async fn settled(&self) -> (f64, f64) {
        let of = async |rule: &str| {
            let series = format!("portcullis_settled_cost_total{{plugin=\"rate-limit\",rule=\"{rule}\"}}");
            self.envoy.metric(&series).await.unwrap_or(0.0)
        };
        (of("in").await, of("out").await)
    }
}

#[tokio::test]
async fn streams_of_two_providers_settle_tokens_in_and_tokens_out_apart() {
    for cluster in ["upstream", "upstream-h2"] {
        let chat = Chat::start(cluster).await;
        let events = "text/event-stream";
        chat.answer(events, "", OPENAI.as_bytes()).await;
        assert_eq!(chat.settled().await, (19.0, 10.0), "{cluster}");
        chat.answer(events, "", ANTHROPIC.as_bytes()).await;
        assert_eq!(chat.settled().await, (44.0, 25.0), "{cluster}");
        let whole = br#"{"choices":[],"usage":{"prompt_tokens":6,"completion_tokens":5}}"#;
        chat.answer("application/json", "", whole).await;
        assert_eq!(chat.settled().await, (50.0, 30.0), "{cluster}");
        // What was spent is what is left: 950 in, 970 out, and the tightest is told.
        let answer = chat.answer("application/json", "", b"{}").await;
        assert_eq!(answer.header("ratelimit-policy"), "\"in\";q=1000;w=3600");
        assert!(answer.header("ratelimit").starts_with("\"in\";r=945;"), "{}", answer.header("ratelimit"));
        assert_eq!(chat.settled().await, (55.0, 35.0), "nothing said: the reservation");
    }
}

#[tokio::test]
async fn a_compressed_body_is_not_read() {
    let chat = Chat::start("upstream").await;
    chat.answer("application/json", "content-encoding=gzip", GZIPPED).await;
    assert_eq!(chat.settled().await, (5.0, 5.0));
}

#[tokio::test]
async fn a_budget_that_an_answer_overdrew_refuses_until_it_has_recovered() {
    let chat = Chat::start("upstream").await;
    let expensive = br#"{"usage":{"prompt_tokens":1,"completion_tokens":3000}}"#;
    assert_eq!(chat.answer("application/json", "", expensive).await.status, 200);
    let refused = chat.answer("application/json", "", b"{}").await;
    assert_eq!((refused.status, &refused.json()["violated-policies"]), (429, &json!(["out"])));
    // 3,000 were spent of 1,000, and 5 are reserved: about 2,005 of them, at 1,000 an hour.
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((7_100..=7_218).contains(&wait), "{wait}");
}

#[tokio::test]
async fn the_lean_module_keeps_such_a_listener_from_coming_up() {
    let upstream = Upstream::start().await;
    let listener = Listener::new("l").plugin(&Plugin::new("rate-limit", config()));
    let refused = Envoy::try_start(&bootstrap(upstream.address(), &[listener]), &Options::default()).await;
    let log = refused.map(drop).unwrap_err().0;
    assert!(
        log.contains("limits[0].settle.json: this module sees no bodies; use rate-limit-body.wasm"),
        "{log}"
    );
}
