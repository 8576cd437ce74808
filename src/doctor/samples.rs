//! The metrics of the running daemon, read back from their text.

/// One line of the Prometheus text format.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: f64,
}

impl Sample {
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<Sample>);

impl Samples {
    pub(super) fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The sum over all labels that hold.
    pub(super) fn sum(&self, name: &str, holds: impl Fn(&Sample) -> bool) -> f64 {
        // From a zero of our own: the sum of nothing is -0.
        self.named(name).filter(|sample| holds(sample)).fold(0.0, |sum, sample| sum + sample.value)
    }

    /// The bound of the bucket that this share of observations is below; nothing without observations.
    pub(super) fn quantile(
        &self,
        histogram: &str,
        share: f64,
        holds: impl Fn(&Sample) -> bool,
    ) -> Option<f64> {
        let name = format!("{histogram}_bucket");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.named(&name).filter(|sample| holds(sample)) {
            let bound = sample.label("le").parse().unwrap_or(f64::INFINITY);
            match buckets.iter_mut().find(|(other, _)| *other == bound) {
                Some((_, count)) => *count += sample.value,
                None => buckets.push((bound, sample.value)),
            }
        }
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        buckets.iter().find(|(_, count)| *count >= share * total).map(|(bound, _)| *bound)
    }
}

/// Values of labels here have no quotes or commas in them but escaped ones, which nothing below looks for.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    let label = |pair: &str| {
        let (name, value) = pair.split_once("=\"")?;
        Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
    };
    let labels = labels.split("\",").filter_map(label).collect();
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}
