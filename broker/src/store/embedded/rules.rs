//! The rules of `log.md`, each of which a test can break on purpose: a rule that no test misses
//! is not tested.

/// A mistake that only tests make, to show that they would see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Bug {
    /// Takes every broken frame for a torn tail and believes no witness.
    Lenient,
    /// Believes no witness.
    NoWitness,
    /// A frame of sequence S+2 behind a broken S+1 proves nothing.
    S3Rule,
    /// Any intact frame behind the tail proves damage.
    AnyRule,
    /// A slot that a seal names is empty when its header is not intact.
    NoSeal,
    /// Entries of a life that is absent are refused at once.
    UnknownLifeRefuse,
    /// A last frame that is clean is not written again.
    NoRewriteClean,
    /// A header that is there is not written again.
    NoHeaderRewrite,
    /// A slot that looks filled is taken for filled.
    NoRefill,
    /// The next slot's header is written before the seal.
    HeaderFirst,
    /// Answers before the fsync.
    AckEarly,
    /// Takes the second fsync's word after the first one failed.
    RetryFsync,
    /// Does not sync the directory after a slot was filled.
    NoDirSyncSlot,
    /// Does not sync the directory after a snapshot was renamed.
    NoDirSyncSnapshot,
    /// A snapshot counts unread.
    NoVerify,
    /// A scope's version is noted behind its objects.
    ScopeLate,
    /// A snapshot holds what is only queued.
    SpecSnapshot,
    /// A slot is free once the snapshot being taken does not list it.
    RecycleEarly,
    /// A slot is free once the newest snapshot lets go of it.
    OneCover,
    /// A slot is free once no snapshot lists it.
    ListOnlyCover,
    /// An index of any use of its slot is taken.
    StaleIndex,
    /// An index counts unverified.
    IndexUnverified,
}

/// How to judge and to write.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    /// The rule that is broken.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub(super) planted: Option<Bug>,
}

impl Rules {
    /// Whether this rule is broken; never outside tests.
    pub(super) const fn plants(self, bug: Bug) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return matches!(self.planted, Some(planted) if planted as u8 == bug as u8);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        {
            let _ = bug;
            false
        }
    }
}
