//! What a filter that decides who may do what refuses to match: a request that somebody else could read in another way.

use super::conditions::is_host;
use super::path::{EncodedSlash, NormalPath};
use super::rules::Rules;
use crate::headers::Lookup;
use crate::reason::Reason;
use crate::request::Request;

/// The path that `rules` are asked about; `None` if there is none (a CONNECT).
///
/// # Errors
/// [`Reason::AmbiguousHost`] and [`Reason::AmbiguousHeader`] where the rules ask about the host or that header,
/// [`Reason::AmbiguousMethod`] and [`Reason::AmbiguousPath`] always.
pub fn path<'a>(
    rules: &Rules,
    request: &'a Request,
    slash: EncodedSlash,
) -> Result<Option<NormalPath<'a>>, Reason> {
    // HTTP/1 codecs refuse such a method and HTTP/2 lets it through. It is none of a rule's, and some upstreams fold it to one.
    if request.method().iter().any(u8::is_ascii_lowercase) {
        return Err(Reason::AmbiguousMethod);
    }
    if rules.ask_for_host() && !is_host(request.authority()) {
        return Err(Reason::AmbiguousHost);
    }
    if rules.headers().iter().any(|name| request.headers.get(name.as_str()) == Lookup::Many) {
        return Err(Reason::AmbiguousHeader);
    }
    let path = request.path().map(|path| NormalPath::new(path, slash));
    path.transpose().map_err(|_| Reason::AmbiguousPath)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_an_upstream_may_fold_is_refused_whatever_the_rules_ask_for() {
        for (method, want) in [
            ("POST", Ok(())),
            ("M-SEARCH", Ok(())),
            ("post", Err(Reason::AmbiguousMethod)),
            ("Post", Err(Reason::AmbiguousMethod)),
            ("POSt", Err(Reason::AmbiguousMethod)),
        ] {
            let request: Request = [(":method", method), (":path", "/a")].into_iter().collect();
            let path = path(&Rules::default(), &request, EncodedSlash::Refuse);
            assert_eq!(path.map(|_| ()), want, "{method}");
        }
    }
}
