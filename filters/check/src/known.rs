//! The fields that hosts know around a plugin, and the words that some of them take. Envoy and the API server refuse any other.

use Of::{Any, Each, In, Word};

use crate::attached::Place;
use crate::finding::{Finding, Severity};
use crate::yaml::Node;

/// What a field holds.
enum Of {
    /// Anything; it is not looked at here.
    Any,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A mapping with these fields.
    In(&'static [Field]),
    /// A list of them.
    Each(&'static [Field]),
}

/// A field and what it holds.
type Field = (&'static str, Of);

/// An entry of Envoy's `http_filters`, below `config` of the Wasm filter: PluginConfig.
const PLUGIN: &[Field] = &[
    ("name", Any),
    ("root_id", Any),
    ("vm_config", In(VM)),
    ("configuration", Any),
    ("fail_open", Any),
    ("failure_policy", Word(&["UNSPECIFIED", "FAIL_RELOAD", "FAIL_CLOSED", "FAIL_OPEN"])),
    ("reload_config", Any),
    ("capability_restriction_config", Any),
    ("allow_on_headers_stop_iteration", Any),
];
const VM: &[Field] = &[
    ("vm_id", Any),
    ("runtime", Word(&["envoy.wasm.runtime.v8", "envoy.wasm.runtime.wamr", "envoy.wasm.runtime.wasmtime"])),
    ("code", In(&[("local", Any), ("remote", Any)])),
    ("configuration", Any),
    ("allow_precompiled", Any),
    ("nack_on_code_cache_miss", Any),
    ("environment_variables", In(&[("host_env_keys", Any), ("key_values", Any)])),
];
const ENTRY: &[Field] = &[
    ("name", Any),
    ("typed_config", Any),
    ("config_discovery", Any),
    ("is_optional", Any),
    ("disabled", Any),
];

/// Where a plugin of Istio's stands in, of either kind: `match`.
const MATCH: &[Field] =
    &[("mode", Word(&["UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"])), ("ports", Any)];
/// Of either kind: `vmConfig`.
const ISTIO_VM: &[Field] =
    &[("env", Each(&[("name", Any), ("value", Any), ("valueFrom", Word(&["INLINE", "HOST"]))]))];
/// WasmPlugin, `spec`.
const WASM_PLUGIN: &[Field] = &[
    ("selector", Any),
    ("targetRef", In(REFERENCE)),
    ("targetRefs", Each(REFERENCE)),
    ("phase", Word(&["UNSPECIFIED_PHASE", "AUTHN", "AUTHZ", "STATS"])),
    ("priority", Any),
    ("match", Each(MATCH)),
    ("url", Any),
    ("sha256", Any),
    ("imagePullPolicy", Word(PULL)),
    ("imagePullSecret", Any),
    ("verificationKey", Any),
    ("pluginConfig", Any),
    ("pluginName", Any),
    ("failStrategy", Word(FAIL)),
    ("vmConfig", In(ISTIO_VM)),
    ("type", Word(TYPE)),
];
/// TrafficExtension, `spec`.
const TRAFFIC_EXTENSION: &[Field] = &[
    ("selector", Any),
    ("targetRefs", Each(REFERENCE)),
    ("phase", Word(&["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"])),
    ("priority", Any),
    ("match", Each(MATCH)),
    ("lua", Any),
    (
        "wasm",
        In(&[
            ("url", Any),
            ("sha256", Any),
            ("imagePullPolicy", Word(PULL)),
            ("imagePullSecret", Any),
            ("verificationKey", Any),
            ("pluginConfig", Any),
            ("pluginName", Any),
            ("failStrategy", Word(FAIL)),
            ("vmConfig", In(ISTIO_VM)),
            ("type", Word(TYPE)),
        ]),
    ),
];
const REFERENCE: &[Field] = &[("group", Any), ("kind", Any), ("name", Any), ("namespace", Any)];
const PULL: &[&str] = &["UNSPECIFIED_POLICY", "IfNotPresent", "Always"];
const FAIL: &[&str] = &["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"];
const TYPE: &[&str] = &["UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"];

/// EnvoyExtensionPolicy, `spec`.
const EXTENSION_POLICY: &[Field] = &[
    ("targetRef", In(TARGET)),
    ("targetRefs", Each(TARGET)),
    ("targetSelectors", Any),
    ("mergeType", Any),
    ("dynamicModule", Any),
    ("extProc", Any),
    ("lua", Any),
    (
        "wasm",
        Each(&[
            ("name", Any),
            ("rootID", Any),
            (
                "code",
                In(&[
                    ("type", Word(&["HTTP", "Image"])),
                    ("http", Any),
                    ("image", Any),
                    ("pullPolicy", Word(&["IfNotPresent", "Always"])),
                ]),
            ),
            ("config", Any),
            ("failOpen", Any),
            ("env", In(&[("hostKeys", Any)])),
        ]),
    ),
];
const TARGET: &[Field] = &[("group", Any), ("kind", Word(KINDS)), ("name", Any), ("sectionName", Any)];
const KINDS: &[&str] =
    &["Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "UDPRoute", "TCPRoute", "TLSRoute"];

/// An entry of Envoy's list, with the Wasm filter's `config`.
pub fn entry(entry: &Node, config: &Node, name: &str, place: &Place, findings: &mut Vec<Finding>) {
    let mut walk = Walk { place, name, camel: true, findings };
    walk.fields(entry, ENTRY, "");
    walk.fields(config, PLUGIN, "config");
}

/// The `spec` of an object of this kind.
pub fn spec(kind: &str, spec: &Node, name: &str, place: &Place, findings: &mut Vec<Finding>) {
    let fields = match kind {
        "WasmPlugin" => WASM_PLUGIN,
        "TrafficExtension" => TRAFFIC_EXTENSION,
        _ => EXTENSION_POLICY,
    };
    Walk { place, name, camel: false, findings }.fields(spec, fields, "spec");
}

struct Walk<'a> {
    place: &'a Place,
    name: &'a str,
    /// Whether `failurePolicy` is `failure_policy`, as it is to Envoy.
    camel: bool,
    findings: &'a mut Vec<Finding>,
}

impl Walk<'_> {
    fn fields(&mut self, node: &Node, fields: &[Field], path: &str) {
        for member in node.members() {
            let known = fields
                .iter()
                .find(|(field, _)| *field == member.name || self.camel && *field == snake(&member.name));
            let at = if path.is_empty() { member.name.clone() } else { format!("{path}.{}", member.name) };
            match known {
                None if member.name == "@type" => {}
                None => {
                    let all: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
                    self.say(member.line, &at, format!("unknown field; known are {}", all.join(", ")));
                }
                Some((_, Any)) => {}
                Some((_, In(fields))) => self.fields(&member.value, fields, &at),
                Some((_, Each(fields))) => {
                    for (n, item) in member.value.items().iter().enumerate() {
                        self.fields(item, fields, &format!("{at}[{n}]"));
                    }
                }
                Some((_, Word(words))) => {
                    // Envoy also takes an enumeration's numbers.
                    let text = member.value.text().unwrap_or_default();
                    let is_number = self.camel && text.parse::<u8>().is_ok();
                    if !words.contains(&text) && !is_number {
                        self.say(member.line, &at, format!("{text} is none of {}", words.join(", ")));
                    }
                }
            }
        }
    }

    fn say(&mut self, line: usize, path: &str, problem: String) {
        self.findings.push(self.place.finding(Severity::Error, line, self.name, path, problem));
    }
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
