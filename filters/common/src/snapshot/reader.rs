//! Whoever uses the content, and what comes of looking and fetching.

use super::target::Target;
use crate::filter::Callout;

/// Whoever uses the content. It keeps what it made of it.
pub trait Reader {
    /// Takes content over in place of the last.
    ///
    /// # Errors
    /// If it is not what it should be; then nothing changes.
    fn accept(&mut self, content: &[u8]) -> Result<(), Unfit>;

    /// Takes content over piece by piece, where all of it is too much for one callback: called with the same content in tick after
    /// tick until it gives `true`. `first` says that it begins anew, also where other content was not finished.
    ///
    /// # Errors
    /// As [`Reader::accept`].
    fn take(&mut self, content: &[u8], _first: bool) -> Result<bool, Unfit> {
        self.accept(content).map(|()| true)
    }

    /// Looks at the answer number `hop` of a fetch, from 0: if it is not the content yet, where the next one is.
    ///
    /// # Errors
    /// If it is not what it should be.
    fn follow(&mut self, _hop: u8, _body: &[u8]) -> Result<Option<Target>, Unfit> {
        Ok(None)
    }
}

/// Why content was not taken, in words for the log. They hold nothing that the server sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit(pub &'static str);

/// How a fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// With new content.
    New,
    /// With the content that was known.
    Same,
    /// With another status than 200.
    Status(u16),
    /// With more than [`super::Spec::max_bytes`].
    TooLarge,
    /// With what the reader did not take.
    Unfit(Unfit),
    /// The answer broke off.
    Reset,
    /// Nobody was reached.
    Unreachable,
    /// No answer came in time.
    Timeout,
}

impl Fetched {
    /// The word for metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Fetched::New => "new",
            Fetched::Same => "same",
            Fetched::Status(_) => "status",
            Fetched::TooLarge => "too_large",
            Fetched::Unfit(_) => "invalid",
            Fetched::Reset => "reset",
            Fetched::Unreachable => "unreachable",
            Fetched::Timeout => "timeout",
        }
    }

    /// Whether the content is now what the server has.
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self, Fetched::New | Fetched::Same)
    }
}

/// What a tick or an answer brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// A call to make; hand its answer to [`super::Snapshot::answered`] with this number.
    pub call: Option<(u32, Callout)>,
    /// Whoever waits should look again: there is other content, or a fetch ended, here or in another VM.
    pub moved: bool,
    /// The reader has other content.
    pub adopted: bool,
    /// A fetch of this VM ended.
    pub fetched: Option<Fetched>,
    /// The call is made out of turn, because something is missing.
    pub out_of_turn: bool,
}
