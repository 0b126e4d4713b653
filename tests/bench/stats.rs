//! Samples of paired rounds.

/// One number for each round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// The difference, round by round.
    pub(crate) fn minus(&self, other: &Samples) -> Samples {
        Samples(self.0.iter().zip(&other.0).map(|(a, b)| a - b).collect())
    }

    pub(crate) fn scaled(&self, factor: f64) -> Samples {
        Samples(self.0.iter().map(|a| a * factor).collect())
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len().is_multiple_of(2) {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        } else {
            sorted[middle]
        }
    }

    /// The 95 % interval of the median: binomial order statistics, which ask nothing of the distribution.
    pub(crate) fn interval(&self) -> (f64, f64) {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len() as f64;
        let reach = (1.96 * n.sqrt() / 2.0).ceil();
        let low = (n / 2.0 - reach).max(0.0) as usize;
        let high = ((n / 2.0 + reach) as usize).min(sorted.len() - 1);
        (sorted[low], sorted[high])
    }
}

/// The numbers below `n` in an order of their own for each round (a linear congruential generator and Fisher and Yates'
/// shuffle): what a variant leaves in the caches is not always left to the same neighbour.
pub(crate) fn shuffled(n: usize, round: usize) -> Vec<usize> {
    let mut state = (round as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(i, (state >> 33) as usize % (i + 1));
    }
    order
}
