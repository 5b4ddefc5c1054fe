//! The store's promises.

use super::Cassandra;
use crate::store::conformance::suite;

suite!(Cassandra::new(), #[ignore = "needs Cassandra"]);
