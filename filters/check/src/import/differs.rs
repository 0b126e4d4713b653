//! What both importers of providers say of the tokens that pass there and not here, and of what they write in its place.

use serde_json::{Map, Value, json};

use super::taken::Taken;
use super::{Kind, Left, Lefts};

/// Where jwt_authn looks if nothing says where.
#[must_use]
pub fn default_tokens() -> Vec<Value> {
    vec![json!({"header": "authorization", "scheme": "Bearer"}), json!({"query": "access_token"})]
}

/// What holds for the tokens of every provider.
pub fn tokens(taken: &Taken<'_>, tokens: &[Value], forwards: bool, lefts: &mut Lefts) {
    if tokens.len() > 1 {
        let why = "a request with tokens in two of these places is 400 here, good as they may be";
        taken.say(Kind::Stricter, "tokens", why, lefts);
    }
    if tokens.iter().any(|place| place.get("cookie").is_some()) && !forwards {
        let why = "the cookie with the token is removed here and goes on to the upstream there; forward_token: true leaves it";
        taken.say(Kind::LookAt, "tokens", why, lefts);
    }
    let why = "a token without sub, with iat ahead or with cnf passes there and is 401 here; for tokens without sub write a subject of \
               another claim, such as \"{claim.client_id}\"";
    taken.say(Kind::Stricter, "issuer", why, lefts);
}

/// What becomes of claims in headers.
pub fn claim_headers(taken: &Taken<'_>, field: &str, headers: &Map<String, Value>, lefts: &mut Lefts) {
    for (header, value) in headers {
        let claim = value.as_str().unwrap_or_default().trim_matches(['{', '}']);
        let why = format!(
            "{header}: with a {claim} that is a list, an object, a number with a fraction, empty or longer than 1 KiB the request passes \
             there and is 403 value_invalid here; {{from: '{claim}', json: true}} takes all of them, as JSON"
        );
        taken.say(Kind::Stricter, field, &why, lefts);
    }
}

/// The audiences that are written, in every spelling that is one to jwt_authn: with and without a scheme and a slash at the end.
pub fn audiences(written: &[&str], taken: &Taken<'_>, lefts: &mut Lefts) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut plain = Vec::new();
    for audience in written {
        let bare = ["https://", "http://"]
            .iter()
            .find_map(|scheme| audience.strip_prefix(scheme))
            .unwrap_or(audience);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let mut spellings = vec![(*audience).to_owned()];
        if bare == *audience && !bare.contains(['.', '/']) {
            plain.push(bare);
        } else {
            let schemes = ["", "https://", "http://"];
            spellings.extend(schemes.iter().flat_map(|s| [format!("{s}{bare}"), format!("{s}{bare}/")]));
        }
        for spelling in spellings {
            if !spelling.is_empty() && !out.contains(&spelling) {
                out.push(spelling);
            }
        }
    }
    if let Some(first) = plain.first() {
        let why = format!(
            "{first} is also https://{first}, http://{first} and {first}/ there; here it is compared as it is: write the others too if tokens have them"
        );
        taken.say(Kind::Stricter, "audiences", &why, lefts);
    }
    out
}

/// Subjects of several issuers: nobody is taken for another, and what reads them can read them. A name holds no slash.
pub fn subjects(line: usize, field: &str, providers: &mut Map<String, Value>, lefts: &mut Lefts) {
    if providers.len() < 2 {
        return;
    }
    let why = "several issuers: subjects are NAME/{claim.sub} with the provider's name, so that nobody is taken for another";
    lefts.push(Left { kind: Kind::LookAt, line, field: field.into(), why: why.into() });
    for (name, provider) in providers.iter_mut() {
        if let Some(members) = provider.as_object_mut() {
            members.insert("subject".into(), format!("{name}/{{claim.sub}}").into());
        }
    }
}
