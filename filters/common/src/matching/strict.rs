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
/// [`Reason::AmbiguousPath`] always.
pub fn path<'a>(
    rules: &Rules,
    request: &'a Request,
    slash: EncodedSlash,
) -> Result<Option<NormalPath<'a>>, Reason> {
    if rules.ask_for_host() && !is_host(request.authority()) {
        return Err(Reason::AmbiguousHost);
    }
    if rules.headers().iter().any(|name| request.headers.get(name.as_str()) == Lookup::Many) {
        return Err(Reason::AmbiguousHeader);
    }
    let path = request.path().map(|path| NormalPath::new(path, slash));
    path.transpose().map_err(|_| Reason::AmbiguousPath)
}
