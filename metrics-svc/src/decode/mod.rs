//! Bytes of a broker become a report or a directory change, or an error that says what is wrong.
//! Nothing a sender writes makes this panic or allocate more than a few times the body.

mod directory;
mod otlp;
#[cfg(test)]
mod tests;

pub use directory::directory;
pub use otlp::report;

/// Why a body was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not protobuf of `ExportMetricsServiceRequest`, not JSON of the directory.
    #[error("the body cannot be decoded: {0}")]
    Malformed(String),
    /// A resource attribute that every report has is missing or of the wrong type.
    #[error("resource attribute {0} is missing or malformed")]
    Attribute(&'static str),
    /// Not exactly one `ResourceMetrics`.
    #[error("a report has one ResourceMetrics, this one has {0}")]
    Resources(usize),
    /// A directory of another format.
    #[error("directory format {0} is unknown, 1 is known")]
    Format(u64),
}
