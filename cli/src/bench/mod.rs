//! `ams bench`: the workloads of the design against a broker of this very program, beside a floor
//! that does nothing, in interleaved rounds on the same machine.

mod connection;
mod consume;
mod floor;
mod house;
mod load;
mod measure;
mod options;
mod probe;
mod process;
mod report;
mod resources;
mod rounds;
mod statistics;
mod workloads;

pub(crate) use options::Options;

use options::Part;

use crate::failure::Failure;

/// Runs what `options` say, until it is done or `interrupted`.
pub(crate) async fn run(
    options: &Options,
    interrupted: impl Future<Output = ()>,
) -> Result<(), Failure> {
    if let Some(Part::Floor { tls }) = &options.part {
        return floor::serve(tls).await;
    }
    let workloads = options.workloads().map_err(Failure::Usage)?;
    tokio::select! {
        done = rounds::run(options, &workloads) => done,
        // What was started ends with the future that started it, and so does the directory.
        () = interrupted => Err(Failure::Other(String::from("interrupted"))),
    }
}
