//! The findings of a rule in a batch: at most as many for each subject as are allowed, and how many more there are.

use kube_devops_core::Finding;
use kube_devops_core::text::number;

/// The findings of a rule.
#[derive(Default)]
pub struct Listed {
    findings: Vec<Finding>,
    /// The number of findings by subject, also of those that are not listed. Empty while there are so few that no subject can have
    /// too many.
    counts: Vec<usize>,
}

impl Listed {
    /// Adds a finding, unless its subject, one of `subjects`, has as many as `limit` allows. The author of a pod decides how many
    /// findings it has, so what is not listed must remain a violation, and must not depend on the other subjects.
    pub fn add(&mut self, finding: Finding, subjects: usize, limit: impl Fn(usize) -> usize) {
        let subject = finding.subject;
        if self.counts.is_empty() {
            if self.findings.len() < limit(subject) {
                return self.findings.push(finding);
            }
            self.counts = vec![0; subjects];
            self.findings.iter().for_each(|finding| self.counts[finding.subject] += 1);
        }
        self.counts[subject] += 1;
        if self.counts[subject] <= limit(subject) {
            self.findings.push(finding);
        }
    }

    /// Returns the last of the listed findings.
    pub fn last(&self) -> Option<&Finding> {
        self.findings.last()
    }

    /// Returns the findings, with one more for each subject that has more than are listed.
    pub fn into_findings(self, limit: impl Fn(usize) -> usize) -> Vec<Finding> {
        let Self { mut findings, counts } = self;
        let excess = |(subject, count): (usize, usize)| Some((subject, count.checked_sub(limit(subject))?));
        let exceeded = counts.into_iter().enumerate().filter_map(excess).filter(|(_, more)| *more > 0);
        findings.extend(exceeded.map(|(subject, more)| {
            Finding {
                subject,
                container: None,
                field: None,
                message: format!(
                    "has {} of this check; only {} are listed",
                    number(more, "more violation"),
                    limit(subject)
                )
                .into(),
                magnitude: 1,
            }
        }));
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is listed of `counts` findings of each subject, of which each can have two.
    fn listed(counts: &[usize]) -> Vec<String> {
        let mut listed = Listed::default();
        for (subject, count) in counts.iter().enumerate() {
            for number in 0..*count {
                let message = format!("{subject}.{number}").into();
                let finding = Finding { subject, container: Some(0), field: None, message, magnitude: 1 };
                listed.add(finding, counts.len(), |_| 2);
            }
        }
        listed.into_findings(|_| 2).iter().map(|finding| finding.message.to_string()).collect()
    }

    #[test]
    fn findings_of_a_subject_are_limited_regardless_of_the_others() {
        assert_eq!(listed(&[2, 0]), ["0.0", "0.1"]);
        assert_eq!(listed(&[0, 2, 2]), ["1.0", "1.1", "2.0", "2.1"]);
        let more = "has 1 more violation of this check; only 2 are listed";
        assert_eq!(listed(&[3]), ["0.0", "0.1", more]);
        assert_eq!(listed(&[1, 3, 2]), ["0.0", "1.0", "1.1", "2.0", "2.1", more]);
        assert_eq!(listed(&[4, 0])[2], "has 2 more violations of this check; only 2 are listed");
    }
}
