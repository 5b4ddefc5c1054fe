//! The faults, one room each.

mod backup;
mod disk_full;
mod flipped;
mod kill_storm;
#[cfg(feature = "planted-bugs")]
mod planted;
mod power_cuts;
mod syscalls;
mod two_processes;

/// Whoever has the program cannot switch a bug on.
#[test]
fn bugs_on_purpose_are_in_no_other_build() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_ams")).unwrap();
    let switch = b"AMS_PLANTED_BUG";
    let found = program.windows(switch.len()).any(|bytes| bytes == switch);
    assert_eq!(found, cfg!(feature = "planted-bugs"));
}
