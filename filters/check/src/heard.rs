//! What the filters log, heard by whoever calls them.

use std::cell::RefCell;
use std::sync::Once;

use log::{Level, LevelFilter, Log, Metadata, Record};

thread_local! {
    static LINES: RefCell<Option<Vec<(Level, String)>>> = const { RefCell::new(None) };
}

struct Ear;

impl Log for Ear {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push((record.level(), record.args().to_string()));
            }
        });
    }

    fn flush(&self) {}
}

/// Calls `work`, and gives what was logged in this thread meanwhile.
pub fn during<T>(work: impl FnOnce() -> T) -> (T, Vec<(Level, String)>) {
    static EAR: Once = Once::new();
    EAR.call_once(|| {
        if log::set_logger(&Ear).is_ok() {
            log::set_max_level(LevelFilter::Debug);
        }
    });
    let before = LINES.replace(Some(Vec::new()));
    let result = work();
    let lines = LINES.replace(before).unwrap_or_default();
    (result, lines)
}
