//! The Markdown of the repository, as far as tests read it: sections, tables, fenced blocks, links.

use std::fs;
use std::path::{Path, PathBuf};

use crate::paths;

/// A file.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path from the repository's root.
    pub path: PathBuf,
    text: String,
}

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// What stands behind the fence, such as `yaml plugin=metrics`.
    pub info: String,
    /// What is in it, with a newline at the end.
    pub text: String,
    /// Whether nothing but a line break parts it from the block before it.
    pub follows: bool,
}

/// All files, but for folders that are built or not ours.
#[must_use]
pub fn pages() -> Vec<Page> {
    let mut found = Vec::new();
    collect(&paths::root(), &mut found);
    found.sort();
    found.iter().map(Page::read).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let skipped = |name: &str| name.starts_with('.') || ["target", "dist", "vectors"].contains(&name);
    for entry in fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && !skipped(&name.to_string_lossy()) {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path.strip_prefix(paths::root()).expect("in the repository").to_path_buf());
        }
    }
}

impl Page {
    /// Reads a file, whose path is from the repository's root.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn read(path: impl AsRef<Path>) -> Page {
        let path = path.as_ref().to_path_buf();
        let text = fs::read_to_string(paths::root().join(&path))
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Page { path, text }
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The headings, without their `#`.
    pub fn headings(&self) -> impl Iterator<Item = &str> {
        let mut fenced = false;
        self.text.lines().filter_map(move |line| {
            fenced ^= line.starts_with("```");
            if fenced {
                None
            } else {
                Some(line.trim_start_matches('#').strip_prefix(' ')?).filter(|_| line.starts_with('#'))
            }
        })
    }

    /// The rows of the tables under a heading `## NAME`, cell by cell, without the head; none if there is no such heading.
    #[must_use]
    pub fn rows(&self, section: &str) -> Vec<Vec<&str>> {
        let heading = format!("## {section}");
        let section = self.text.lines().skip_while(|line| *line != heading).skip(1);
        let lines: Vec<&str> = section.take_while(|line| !line.starts_with("## ")).collect();
        let is_row = |line: &str| line.starts_with('|');
        let heads = |n: usize| lines.get(n + 1).is_some_and(|next| next.starts_with("|---"));
        let rows =
            lines.iter().enumerate().filter(|(n, l)| is_row(l) && !l.starts_with("|---") && !heads(*n));
        rows.map(|(_, line)| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
    }

    /// The fenced blocks, in order.
    #[must_use]
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open: Option<Block> = None;
        let mut closed_just_now = false;
        for line in self.text.lines() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(info)) => {
                    open = Some(Block { info: info.into(), text: String::new(), follows: closed_just_now });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => {}
            }
            closed_just_now = open.is_none() && line == "```";
        }
        assert!(open.is_none(), "{}: a block is not closed", self.path.display());
        blocks
    }

    /// The targets of its links.
    #[must_use]
    pub fn links(&self) -> Vec<&str> {
        self.text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect()
    }
}

/// The texts in backticks.
pub fn codes(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The anchor that GitHub gives a heading.
#[must_use]
pub fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}
