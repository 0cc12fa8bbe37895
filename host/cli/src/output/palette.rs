//! The colours of text output.

use anstyle::{AnsiColor, Style};
use kube_devops_core::Severity;
use kube_devops_core::score::{Classification, Grade};

/// The styles of text; without colours, every style is empty.
pub struct Palette {
    pub colours: bool,
}

impl Palette {
    pub fn bold(&self) -> Style {
        self.style(Style::new().bold())
    }

    pub fn dimmed(&self) -> Style {
        self.style(Style::new().dimmed())
    }

    pub fn success(&self) -> Style {
        self.style(AnsiColor::Green.on_default())
    }

    pub fn warning(&self) -> Style {
        self.style(AnsiColor::Yellow.on_default())
    }

    pub fn error(&self) -> Style {
        self.style(AnsiColor::Red.on_default().bold())
    }

    pub fn severity(&self, severity: Severity) -> Style {
        match severity {
            Severity::Critical => self.error(),
            Severity::High => self.style(AnsiColor::Red.on_default()),
            Severity::Medium => self.warning(),
            Severity::Low => self.style(AnsiColor::Cyan.on_default()),
        }
    }

    pub fn class(&self, class: Classification) -> Style {
        match class {
            Classification::Healthy => self.success(),
            Classification::Stable => self.style(AnsiColor::Cyan.on_default()),
            Classification::Degraded => self.warning(),
            Classification::Critical => self.error(),
        }
    }

    pub fn grade(&self, grade: Grade) -> Style {
        match grade {
            Grade::A | Grade::B => self.success(),
            Grade::C | Grade::D => self.warning(),
            Grade::F => self.error(),
        }
    }

    fn style(&self, style: Style) -> Style {
        if self.colours { style } else { Style::new() }
    }
}
