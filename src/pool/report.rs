//! The outcome of a task: in the worker, on the wire, and for the caller.

use super::{
    call::{Finished, Frames, Queued, Value},
    published::Owners,
    shared::Shared,
    wire::{Body, garbled, put_bytes},
};
use crate::{
    error::{Remote, Result, TaskFailure},
    frame::Handle,
};

/// Handles of the frames in a result.
#[derive(Default)]
pub(super) struct Handles {
    pub(super) frames: Vec<String>,
    /// The handles of those that the caller will own.
    pub(super) given: Vec<String>,
}

/// The outcome of a task, as it is sent over the wire.
pub(super) enum Report {
    Value(Vec<u8>),
    Failed(Vec<String>),
    Panicked { message: String, location: String },
    NotSent { what: &'static str, detail: String },
}

impl Report {
    pub(super) fn write(&self, out: &mut Vec<u8>, handles: &Handles) {
        match self {
            Self::Value(bytes) => {
                out.push(0);
                put_texts(out, &handles.frames);
                put_texts(out, &handles.given);
                out.extend_from_slice(bytes);
            }
            Self::Failed(chain) => {
                out.push(1);
                put_texts(out, chain);
            }
            Self::Panicked { message, location } => {
                out.push(2);
                put_bytes(out, message.as_bytes());
                put_bytes(out, location.as_bytes());
            }
            Self::NotSent { what, detail } => {
                out.push(if *what == "argument" { 3 } else { 4 });
                put_bytes(out, detail.as_bytes());
            }
        }
    }

    /// Reads a report, with the handles of the frames in its value. Most values have none.
    pub(super) fn read(body: &mut Body<'_>) -> Result<(Self, Option<Box<Handles>>)> {
        let report = match body.u8()? {
            0 => {
                let handles = Handles { frames: texts(body)?, given: texts(body)? };
                let any = !handles.frames.is_empty() || !handles.given.is_empty();
                return Ok((Self::Value(body.0.to_vec()), any.then(|| Box::new(handles))));
            }
            1 => Self::Failed(texts(body)?),
            2 => Self::Panicked { message: body.text()?, location: body.text()? },
            3 => Self::NotSent { what: "argument", detail: body.text()? },
            4 => Self::NotSent { what: "result", detail: body.text()? },
            _ => return Err(garbled()),
        };
        Ok((report, None))
    }
}

fn put_texts(out: &mut Vec<u8>, texts: &[String]) {
    out.extend_from_slice(&u32::try_from(texts.len()).unwrap_or(0).to_le_bytes());
    for text in texts {
        put_bytes(out, text.as_bytes());
    }
}

fn texts(body: &mut Body<'_>) -> Result<Vec<String>> {
    match body.u32()? {
        0 => Ok(Vec::new()),
        count => (0..count).map(|_| body.text()).collect(),
    }
}

/// Returns the failure of a task whose report is not a value.
pub(super) fn failure(report: Report) -> TaskFailure {
    match report {
        // A report of the initializer, which is not a task.
        Report::Value(_) => TaskFailure::Cancelled("it has no result".to_owned()),
        Report::Failed(chain) => TaskFailure::Failed(Remote::from_chain(chain)),
        Report::Panicked { message, location } => TaskFailure::Panicked { message, location },
        Report::NotSent { what, detail } => TaskFailure::NotSent { what, detail },
    }
}

/// Returns a finished task. Frames in its report are mapped before the worker releases them.
pub(super) fn finished(shared: &Shared, task: Queued, report: Report, handles: Option<&Handles>) -> Finished {
    match report {
        Report::Value(bytes) => {
            let frames = handles.map(|handles| Box::new(frames(shared, &task, handles)));
            Finished { index: task.index, result: Ok(Value { bytes, frames }), argument: None }
        }
        failed => Finished { index: task.index, result: Err(failure(failed)), argument: Some(task.argument) },
    }
}

fn frames(shared: &Shared, task: &Queued, handles: &Handles) -> Frames {
    let parse = |text: &String| text.parse::<Handle>().ok();
    let held = handles.frames.iter().filter_map(|text| parse(text)?.hold().ok().flatten()).collect();
    let given = handles.given.iter().filter_map(parse);
    Frames { held, owners: Owners::new(given, task.owners(), shared.session(), shared.owned()) }
}
