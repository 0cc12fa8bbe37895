//! The errors, and the objects of unknown kinds.

use std::io::{self, Write};

use kube_devops_core::text::number;

use super::super::plain::one_line;
use super::super::{Place, not_evaluated};
use super::{MAX_ERROR_LENGTH, Page};

const MAX_ERRORS: usize = 20;

impl Page<'_> {
    pub(super) fn errors(&self, out: &mut dyn Write) -> io::Result<()> {
        let errors = &self.shown.report.errors;
        if errors.is_empty() {
            return Ok(());
        }
        let style = self.palette.error();
        writeln!(out, "{style}{}: not everything was evaluated{style:#}\n", number(errors.len(), "error"))?;
        for error in errors.iter().take(MAX_ERRORS) {
            write!(out, "  {style}error{style:#}  ")?;
            self.message(&one_line(&error.message, MAX_ERROR_LENGTH), Place::of_error(error), 9, out)?;
        }
        self.more(errors.len().saturating_sub(MAX_ERRORS), "error", false, out)?;
        writeln!(out)
    }

    pub(super) fn not_evaluated(&self, out: &mut dyn Write) -> io::Result<()> {
        let objects = &self.shown.report.extent.not_evaluated;
        if objects.is_empty() {
            return Ok(());
        }
        let style = self.palette.warning();
        for object in objects.iter().take(MAX_ERRORS) {
            write!(out, "  {style}warning{style:#}  ")?;
            let place = object.source.as_ref().map(Place::new);
            self.message(&one_line(&not_evaluated(object), MAX_ERROR_LENGTH), place, 11, out)?;
        }
        self.more(objects.len().saturating_sub(MAX_ERRORS), "object", false, out)?;
        writeln!(out)
    }
}
