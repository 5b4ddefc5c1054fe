//! F2 with the program: its system calls are recorded ([`trace`]), played into a disk whose power
//! can be cut at any of them ([`disk`]), and what is left each time is opened and judged ([`judge`]).

pub(crate) mod disk;
pub(crate) mod judge;
pub(crate) mod trace;

#[cfg(test)]
mod tests;
