//! Walks a datum without building it: no length in it makes anything grow, and blocks of items
//! that take no bytes, and types that hold themselves, cost steps.

use std::collections::HashSet;

use super::{Id, Program, Type};

/// Deepest nesting of a datum.
const MAX_DEPTH: usize = 64;
/// Values that any datum may hold, those that take no bytes included.
const BASE_STEPS: usize = 100_000;
/// Values more for each of its bytes.
const STEPS_PER_BYTE: usize = 4;

/// Whether `payload` begins with a datum of `program`; what the decoder says if not.
pub(super) fn judge(program: &Program, payload: &[u8]) -> Result<(), String> {
    let steps = payload.len().saturating_mul(STEPS_PER_BYTE).saturating_add(BASE_STEPS);
    let mut reader = Reader { types: &program.types, rest: payload, steps, depth: 0 };
    reader.any(program.root).map_err(|mut trail| {
        trail.reverse();
        trail.join(": ")
    })
}

/// Where a decoder was when it stopped, innermost first.
type Trail = Vec<String>;

struct Reader<'a> {
    types: &'a [Type],
    rest: &'a [u8],
    steps: usize,
    depth: usize,
}

fn stop<T>(what: impl Into<String>) -> Result<T, Trail> {
    Err(vec![what.into()])
}

/// Adds where it was.
fn inside(place: impl FnOnce() -> String) -> impl FnOnce(Trail) -> Trail {
    |mut trail| {
        trail.push(place());
        trail
    }
}

impl<'a> Reader<'a> {
    fn any(&mut self, id: Id) -> Result<(), Trail> {
        let types = self.types;
        let Some(kind) = types.get(id) else { return Ok(()) };
        let Some(steps) = self.steps.checked_sub(1) else {
            return stop("too many values");
        };
        self.steps = steps;
        if self.depth >= MAX_DEPTH {
            return stop(format!("nested too deep: the limit is {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        self.value(kind)?;
        self.depth -= 1;
        Ok(())
    }

    fn value(&mut self, kind: &'a Type) -> Result<(), Trail> {
        let at = |place: &'static str| inside(move || format!("cannot decode binary {place}"));
        match kind {
            Type::Null => Ok(()),
            Type::Boolean => match self.take(1).map_err(at("boolean"))? {
                [0 | 1] => Ok(()),
                other => stop(format!(
                    "cannot decode binary boolean: expected: Go byte(0) or byte(1); received: byte({})",
                    other.first().copied().unwrap_or_default()
                )),
            },
            Type::Int => self.long().map(drop).map_err(at("int")),
            Type::Long => self.long().map(drop).map_err(at("long")),
            Type::Float => self.take(4).map(drop).map_err(at("float")),
            Type::Double => self.take(8).map(drop).map_err(at("double")),
            Type::Bytes => self.bytes().map(drop),
            Type::String => self.bytes().map(drop).map_err(at("string")),
            Type::Array(items) => self.array(*items),
            Type::Map(values) => self.map(*values),
            Type::Union(members) => self.union(members),
            Type::Record { name, fields } => {
                for (field, id) in fields {
                    self.any(*id).map_err(inside(|| {
                        format!("cannot decode binary record {name:?} field {field:?}")
                    }))?;
                }
                Ok(())
            }
            Type::Enum { name, symbols } => {
                let index = self
                    .long()
                    .map_err(inside(|| format!("cannot decode binary enum {name:?} index")))?;
                if (0..*symbols).contains(&index) {
                    return Ok(());
                }
                let last = symbols - 1;
                stop(format!(
                    "cannot decode binary enum {name:?}: index ought to be between 0 and {last}; read index: {index}"
                ))
            }
            Type::Fixed { name, size } => {
                let rest = self.rest.len();
                self.take(*size).map(drop).map_err(|_| {
                    vec![format!(
                        "cannot decode binary fixed {name:?}: schema size exceeds remaining buffer size: {size} > {rest} (short buffer)"
                    )]
                })
            }
        }
    }

    fn array(&mut self, items: Id) -> Result<(), Trail> {
        let mut item = 0u64;
        loop {
            let count = self.block("array")?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                item += 1;
                let place = || format!("cannot decode binary array item {item}");
                self.any(items).map_err(inside(place))?;
            }
        }
    }

    fn map(&mut self, values: Id) -> Result<(), Trail> {
        let mut keys = HashSet::new();
        loop {
            let count = self.block("map")?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                let key = self.bytes().map_err(inside(|| {
                    String::from("cannot decode binary map key: cannot decode binary string")
                }))?;
                let text = || format!("{:?}", String::from_utf8_lossy(key));
                if !keys.insert(key) {
                    return stop(format!("cannot decode binary map: duplicate key: {}", text()));
                }
                self.any(values).map_err(inside(|| {
                    format!("cannot decode binary map value for key {}", text())
                }))?;
            }
        }
    }

    /// How many items the next block has.
    fn block(&mut self, kind: &str) -> Result<u64, Trail> {
        let count =
            self.long().map_err(inside(|| format!("cannot decode binary {kind} block count")))?;
        if count < 0 {
            // Its size in bytes, for those who pass over it.
            self.long().map_err(inside(|| format!("cannot decode binary {kind} block size")))?;
        }
        Ok(count.unsigned_abs())
    }

    fn union(&mut self, members: &[Id]) -> Result<(), Trail> {
        let index =
            self.long().map_err(inside(|| String::from("cannot decode binary union index")))?;
        let member = usize::try_from(index).ok().and_then(|index| members.get(index));
        let Some(member) = member else {
            let last = members.len().saturating_sub(1);
            return stop(format!(
                "cannot decode binary union: index ought to be between 0 and {last}; read index: {index}"
            ));
        };
        let place = || format!("cannot decode binary union item {}", index.saturating_add(1));
        self.any(*member).map_err(inside(place))
    }

    /// So many bytes behind their length.
    fn bytes(&mut self) -> Result<&'a [u8], Trail> {
        let at = || inside(|| String::from("cannot decode binary bytes"));
        let size = self.long().map_err(at())?;
        if size < 0 {
            return stop(format!("cannot decode binary bytes: negative size: {size}"));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        self.take(size).map_err(at())
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8], Trail> {
        let Some((taken, rest)) = self.rest.split_at_checked(size) else {
            return stop("short buffer");
        };
        self.rest = rest;
        Ok(taken)
    }

    /// A whole number, zigzag and in groups of seven bits.
    fn long(&mut self) -> Result<i64, Trail> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let &[byte] = self.take(1)? else { return stop("short buffer") };
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        stop("a number of more than 64 bits")
    }
}
