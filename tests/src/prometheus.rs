//! Prometheus' text format, as Envoy writes it, read into samples.

use std::collections::BTreeMap;

/// One line of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name; for histograms with `_bucket`, `_sum` or `_count` behind.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// A label; empty if there is none.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// Whether it is a sample of this metric with these labels among its own.
    #[must_use]
    pub fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.name == name && labels.iter().all(|(n, v)| self.label(n) == *v)
    }
}

/// The samples of a text. Comments, and lines that are no samples, are left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

/// The sum of all samples of a metric with these labels.
#[must_use]
pub fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    samples.iter().filter(|s| s.is(name, labels)).map(|s| s.value).sum()
}

/// A quantile of a histogram: the bound of the bucket that it falls into, and within the bucket as if its values were spread
/// evenly, which is what `histogram_quantile` does. `None` if nothing was recorded.
#[must_use]
pub fn quantile(samples: &[Sample], name: &str, labels: &[(&str, &str)], share: f64) -> Option<f64> {
    let bucket = format!("{name}_bucket");
    let mut sums: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    for sample in samples.iter().filter(|s| s.is(&bucket, labels)) {
        let bound = match sample.label("le") {
            "+Inf" => f64::INFINITY,
            text => text.parse().ok()?,
        };
        // Bounds are not negative, and the bits of such doubles are in the order of their values.
        sums.entry(bound.to_bits()).or_insert((bound, 0.0)).1 += sample.value;
    }
    let buckets: Vec<(f64, f64)> = sums.into_values().collect();
    let total = buckets.last()?.1;
    if total == 0.0 {
        return None;
    }
    let rank = total * share;
    let (mut below, mut counted) = (0.0, 0.0);
    for (bound, count) in buckets {
        if count >= rank {
            let within = if count > counted { (rank - counted) / (count - counted) } else { 1.0 };
            return Some(if bound.is_finite() { below + (bound - below) * within } else { below });
        }
        (below, counted) = (bound, count);
    }
    None
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}')?;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let end = quote(after)?;
        let value = after[..end].replace("\\\"", "\"").replace("\\\\", "\\");
        labels.insert(label.trim_start_matches(',').to_owned(), value);
        rest = &after[end + 1..];
    }
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

/// Where a quoted value ends.
fn quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE a counter\na{r=\"/x,{id}\",s=\"\"} 3\na{r=\"q\\\"\"} 4\nb 1\n\
                        h_bucket{le=\"10\"} 50\nh_bucket{le=\"20\"} 100\nh_bucket{le=\"+Inf\"} 100\n";

    #[test]
    fn lines_are_samples() {
        let samples = parse(TEXT);
        assert_eq!(samples.len(), 6);
        assert_eq!((samples[0].label("r"), samples[0].label("s"), samples[0].value), ("/x,{id}", "", 3.0));
        assert_eq!(samples[1].label("r"), "q\"");
        assert_eq!(sum(&samples, "a", &[]), 7.0);
        assert_eq!(sum(&samples, "a", &[("r", "/x,{id}")]), 3.0);
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let samples = parse(TEXT);
        assert_eq!(quantile(&samples, "h", &[], 0.5), Some(10.0));
        assert_eq!(quantile(&samples, "h", &[], 0.75), Some(15.0));
        assert_eq!(quantile(&samples, "h", &[], 0.25), Some(5.0));
        assert_eq!(quantile(&samples, "none", &[], 0.5), None);
    }
}
