//! The segment tree: finds the templates that a path can meet, in time that does not depend on how many there are.
//!
//! Literal segments are looked up by hash, so ten thousand siblings cost what ten do. Candidates come in order of
//! specificity, as OpenAPI has it: literal, then `{x}`, then `**`, judged from the first segment on.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::path::NormalPath;
use super::pattern::{Pattern, Segment};

/// A tree of templates; each carries the number that it was inserted with.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<[u8]>, usize, BuildHasherDefault<Fnv>>,
    capture: Option<usize>,
    /// Templates that end here.
    ends: Vec<usize>,
    /// Templates that go on with `**` here.
    rests: Vec<usize>,
}

impl Tree {
    /// Adds a template under a number.
    pub fn insert(&mut self, pattern: &Pattern, number: usize) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for segment in &pattern.segments {
            let fresh = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            let next = match segment {
                Segment::Literal(text) => *node.literals.entry(text.clone()).or_insert(fresh),
                Segment::Capture(_) => *node.capture.get_or_insert(fresh),
            };
            if next == fresh {
                self.nodes.push(Node::default());
            }
            at = next;
        }
        if let Some(node) = self.nodes.get_mut(at) {
            if pattern.rest { node.rests.push(number) } else { node.ends.push(number) }
        }
    }

    /// Calls `found` with the number of each template that matches `path`, most specific first, until it says stop.
    pub fn find(&self, path: &NormalPath<'_>, found: &mut dyn FnMut(usize) -> Visit) -> Visit {
        self.nodes.first().map_or(Visit::Next, |root| self.walk(root, path.as_bytes().get(1..), found))
    }

    /// `rest` is what follows the last slash that was passed, `None` at the end of the path. The depth of the
    /// recursion is bounded by the longest template, not by the path.
    fn walk(&self, node: &Node, rest: Option<&[u8]>, found: &mut dyn FnMut(usize) -> Visit) -> Visit {
        if let Some(rest) = rest {
            let end = rest.iter().position(|&b| b == b'/');
            let segment = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            let below = end.and_then(|at| rest.get(at.saturating_add(1)..));
            let literal = node.literals.get(segment);
            let capture = node.capture.as_ref().filter(|_| !segment.is_empty());
            for child in [literal, capture].into_iter().flatten() {
                if let Some(child) = self.nodes.get(*child)
                    && self.walk(child, below, found) == Visit::Stop
                {
                    return Visit::Stop;
                }
            }
        }
        let here: &[usize] = if rest.is_none() { &node.ends } else { &[] };
        for number in here.iter().chain(&node.rests) {
            if found(*number) == Visit::Stop {
                return Visit::Stop;
            }
        }
        Visit::Next
    }

    /// Calls `found` with the number of each template that matches every path that `pattern` matches.
    pub fn covering(&self, pattern: &Pattern, found: &mut dyn FnMut(usize)) {
        if let Some(root) = self.nodes.first() {
            self.cover(root, &pattern.segments, pattern.rest, found);
        }
    }

    fn cover(&self, node: &Node, segments: &[Segment], rest: bool, found: &mut dyn FnMut(usize)) {
        for number in &node.rests {
            found(*number);
        }
        let Some((first, below)) = segments.split_first() else {
            if !rest {
                for number in &node.ends {
                    found(*number);
                }
            }
            return;
        };
        let empty = matches!(first, Segment::Literal(text) if text.is_empty());
        let literal = match first {
            Segment::Literal(text) => node.literals.get(text),
            Segment::Capture(_) => None,
        };
        for child in [literal, node.capture.as_ref().filter(|_| !empty)].into_iter().flatten() {
            if let Some(child) = self.nodes.get(*child) {
                self.cover(child, below, rest, found);
            }
        }
    }
}

/// Whether a search goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Look further.
    Next,
    /// Enough.
    Stop,
}

/// FNV-1a. The keys of the tree come from the operator and no client can add one, so nothing is gained by a hash that
/// withstands collisions; it is lookups that must be cheap.
#[derive(Debug)]
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::path::EncodedSlash;
    use super::*;
    use proptest::prelude::*;

    fn tree(patterns: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for (i, p) in patterns.iter().enumerate() {
            tree.insert(&Pattern::parse(p).unwrap(), i);
        }
        tree
    }

    fn all(tree: &Tree, path: &str) -> Vec<usize> {
        let mut out = Vec::new();
        tree.find(&NormalPath::new(path.as_bytes(), EncodedSlash::Refuse).unwrap(), &mut |n| {
            out.push(n);
            Visit::Next
        });
        out
    }

    #[test]
    fn candidates_come_most_specific_first() {
        let tree = tree(&["/**", "/a/**", "/a/{x}", "/a/b", "/{x}/b", "/a", "/a/"]);
        assert_eq!(all(&tree, "/a/b"), [3, 2, 1, 4, 0]);
        assert_eq!(all(&tree, "/a"), [5, 1, 0]);
        assert_eq!(all(&tree, "/a/"), [6, 1, 0]);
        assert_eq!(all(&tree, "/"), [0]);
        assert_eq!(all(&tree, "/a/c/d"), [1, 0]);
        assert_eq!(all(&Tree::default(), "/"), [0_usize; 0]);
    }

    #[test]
    fn case_and_a_trailing_slash_count() {
        let tree = tree(&["/docs/{id}"]);
        assert_eq!(all(&tree, "/docs/1"), [0]);
        for path in ["/docs/", "/docs", "/docs/1/", "/Docs/1"] {
            assert_eq!(all(&tree, path), [0_usize; 0], "{path}");
        }
    }

    #[test]
    fn covering_means_every_path() {
        let tree = tree(&["/a/**", "/a/{x}", "/a/b", "/{x}/b"]);
        let covers = |p: &str| {
            let mut out = Vec::new();
            tree.covering(&Pattern::parse(p).unwrap(), &mut |n| out.push(n));
            out.sort_unstable();
            out
        };
        assert_eq!(covers("/a/b"), [0, 1, 2, 3]);
        assert_eq!(covers("/a/{y}"), [0, 1]);
        assert_eq!(covers("/a/"), [0]);
        assert_eq!(covers("/a/{y}/**"), [0]);
        assert_eq!(covers("/{y}/{z}"), [0_usize; 0]);
    }

    /// The same question asked the slow way.
    fn naive(pattern: &Pattern, path: &str) -> bool {
        let segments: Vec<&str> = path[1..].split('/').collect();
        let fits = |(s, text): (&Segment, &&str)| match s {
            Segment::Literal(l) => **l == *text.as_bytes(),
            Segment::Capture(_) => !text.is_empty(),
        };
        let long = if pattern.rest {
            segments.len() >= pattern.segments.len()
        } else {
            segments.len() == pattern.segments.len()
        };
        long && pattern.segments.iter().zip(&segments).all(fits)
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_scan_finds(
            patterns in prop::collection::vec("(/([ab]|[{]x[}])){1,2}(/[*][*]|/[{]y[}]|)", 1..12),
            path in "(/[abc]){1,4}/?",
        ) {
            let texts: Vec<&str> = patterns.iter().map(String::as_str).filter(|p| Pattern::parse(p).is_ok()).collect();
            let mut found = all(&tree(&texts), &path);
            found.sort_unstable();
            let want: Vec<usize> = (0..texts.len()).filter(|i| naive(&Pattern::parse(texts[*i]).unwrap(), &path)).collect();
            prop_assert_eq!(found, want);
        }

        #[test]
        fn what_is_covered_matches_wherever_the_covered_one_does(
            patterns in prop::collection::vec("(/([ab]|[{]x[}])){1,2}(/[*][*]|)", 1..8),
            path in "(/[abc]){1,4}/?",
        ) {
            let parsed: Vec<Pattern> = patterns.iter().filter_map(|p| Pattern::parse(p).ok()).collect();
            for p in &parsed {
                let mut t = Tree::default();
                t.insert(p, 0);
                for q in &parsed {
                    let mut covered = false;
                    t.covering(q, &mut |_| covered = true);
                    prop_assert!(!covered || !naive(q, &path) || naive(p, &path), "{:?} covers {:?}", p, q);
                }
            }
        }
    }
}
