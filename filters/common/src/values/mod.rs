//! Values of a request: one vocabulary for all filters.
//!
//! A **source** names one value (`claim.org.id`, `client.ip/24,48`); a **template** is text with sources in braces
//! (`"document:{path.id}"`).
//!
//! | module | one idea |
//! |---|---|
//! | [`source`] | the vocabulary |
//! | [`template`] | text with sources |
//! | [`context`] | resolving a source against a request |
//! | [`params`] | one parameter of a query string or a cookie header |
//! | [`address`] | client addresses and their prefixes |

pub mod address;
pub mod context;
pub mod params;
pub mod source;
pub mod template;

/// The longest value that is taken from a request, in bytes.
pub const MAX_VALUE: usize = 1024;

/// Why a source has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is not there.
    Absent,
    /// It is empty, repeated, too long, not text, or of a type that is no single value.
    Unusable,
}

impl Failure {
    /// The reason to refuse with.
    #[must_use]
    pub fn reason(self) -> crate::reason::Reason {
        match self {
            Failure::Absent => crate::reason::Reason::ValueMissing,
            Failure::Unusable => crate::reason::Reason::ValueInvalid,
        }
    }
}
