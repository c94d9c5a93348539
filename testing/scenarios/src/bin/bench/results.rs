//! Results of all runs, with minimum, median and maximum.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    audit_log::Requests,
    figures::{ALL, Figure, Unit},
    subject::Subject,
};

/// Figures of one subject with one number of objects in one run.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) subject: Subject,
    pub(crate) objects: usize,
    pub(crate) run: u16,
    pub(crate) values: BTreeMap<&'static str, f64>,
    /// Requests to the API server and to Auth0, by stage.
    pub(crate) requests: BTreeMap<String, Requests>,
}

impl Sample {
    pub(crate) fn new(subject: Subject, objects: usize, run: u16) -> Self {
        let (values, requests) = (BTreeMap::new(), BTreeMap::new());
        Self { subject, objects, run, values, requests }
    }

    pub(crate) fn set(&mut self, figure: &Figure, value: f64) {
        self.values.insert(figure.key, value);
    }

    pub(crate) fn get(&self, figure: &Figure) -> Option<f64> {
        self.values.get(figure.key).copied()
    }

    /// Divides a value by the number of objects.
    pub(crate) fn per_object(&self, value: f64) -> f64 {
        value / self.objects.max(1) as f64
    }
}

/// Minimum, median and maximum of several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
    pub(crate) runs: usize,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { min, median: f64::midpoint(low, high), max, runs: values.len() })
    }

    /// Formats the median, and the other two if they differ from it.
    pub(crate) fn format(&self, unit: Unit) -> String {
        let [min, median, max] = [self.min, self.median, self.max].map(|value| unit.format(value));
        if min == max { median } else { format!("{median} ({min}–{max})") }
    }
}

/// Subject and number of objects, which the runs have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    pub(crate) subject: Subject,
    pub(crate) objects: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    pub(crate) samples: Vec<Sample>,
}

impl Results {
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        let mut subjects: Vec<_> = self.samples.iter().map(|sample| sample.subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        subjects
    }

    /// Returns the numbers of objects with which a subject was measured.
    pub(crate) fn objects(&self, subject: Subject) -> Vec<usize> {
        let samples = self.samples.iter().filter(|sample| sample.subject == subject);
        let mut objects: Vec<_> = samples.map(|sample| sample.objects).collect();
        objects.sort_unstable();
        objects.dedup();
        objects
    }

    pub(crate) fn spread(&self, series: Series, figure: &Figure) -> Option<Spread> {
        let runs = self
            .samples
            .iter()
            .filter(|sample| sample.subject == series.subject && sample.objects == series.objects);
        Spread::of(runs.filter_map(|sample| sample.get(figure)).collect())
    }

    /// Returns everything as JSON.
    pub(crate) fn to_json(&self, environment: &Value) -> Value {
        let mut summary = Vec::new();
        for subject in self.subjects() {
            for objects in self.objects(subject) {
                let series = Series { subject, objects };
                let figures: BTreeMap<_, _> = ALL
                    .iter()
                    .filter_map(|figure| Some((figure.key, self.spread(series, figure)?)))
                    .collect();
                summary.push(json!({
                    "subject": subject.key(), "objects": objects, "figures": figures,
                }));
            }
        }
        let samples: Vec<_> = self.samples.iter().map(sample_json).collect();
        json!({ "environment": environment, "summary": summary, "runs": samples })
    }
}

fn sample_json(sample: &Sample) -> Value {
    json!({
        "subject": sample.subject.key(), "objects": sample.objects, "run": sample.run,
        "figures": sample.values, "requests": sample.requests,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::READY;

    #[test]
    fn spread_has_minimum_median_and_maximum() {
        let mut results = Results::default();
        for (run, value) in [(1, 3.0), (2, 1.0), (3, 1.5)] {
            let mut sample = Sample::new(Subject::Rotator, 500, run);
            sample.set(&READY, value);
            results.samples.push(sample);
        }
        let series = Series { subject: Subject::Rotator, objects: 500 };
        let spread = results.spread(series, &READY).unwrap();
        assert_eq!((spread.min, spread.median, spread.max, spread.runs), (1.0, 1.5, 3.0, 3));
        assert_eq!(spread.format(Unit::Seconds), "1.50 (1.00–3.00)");
        assert_eq!(results.spread(Series { objects: 0, ..series }, &READY), None);
        let json = results.to_json(&json!({}));
        assert_eq!(json["summary"][0]["figures"]["ready_seconds"]["median"], 1.5);
    }

    #[test]
    fn median_of_two_is_their_mean() {
        assert_eq!(Spread::of(vec![1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
