//! Names by numbers: the store's, and those that only one question has.

use super::names::Names;
use super::store;

/// The store's names, and those that only this question has.
pub(super) struct Numbers<'a> {
    pub(super) names: &'a Names,
    pub(super) own: Vec<(&'a str, u16)>,
}

impl<'a> Numbers<'a> {
    pub(super) fn number(&mut self, name: &'a str, kind: u16) -> u32 {
        if let Some(number) = self.names.find(name) {
            return number;
        }
        let at = self.own.iter().position(|(own, _)| *own == name).unwrap_or_else(|| {
            self.own.push((name, kind));
            self.own.len().saturating_sub(1)
        });
        u32::try_from(self.names.len().saturating_add(at)).unwrap_or(u32::MAX)
    }

    fn own(&self, number: u32) -> Option<(&'a str, u16)> {
        let at = usize::try_from(number).ok()?.checked_sub(self.names.len())?;
        self.own.get(at).copied()
    }

    pub(super) fn kind(&self, number: u32) -> Option<u16> {
        let stored = usize::try_from(number).ok().and_then(|n| self.names.kind(n));
        stored.or_else(|| self.own(number).map(|(_, kind)| kind))
    }

    pub(super) fn name(&self, number: u32) -> &str {
        let stored = usize::try_from(number).ok().and_then(|n| self.names.name(n));
        stored.or_else(|| self.own(number).map(|(name, _)| name)).unwrap_or_default()
    }
}

/// Who is asked about, by numbers.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) kind: u16,
    pub(super) facet: u16,
    /// The object, or the type of everybody.
    pub(super) number: u32,
}

impl Target {
    pub(super) fn related(&self) -> Option<u16> {
        self.facet.checked_sub(store::related(0))
    }
}
