//! What can be done, by the names that KMS has for it: the log, the audit and policies speak of nothing else.

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// An action of KMS, or of this program where KMS has none.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $($(#[$doc])* $name),* }

        impl Action {
            /// All of them.
            pub const ALL: &'static [Action] = &[$(Action::$name),*];

            /// The name, as a policy has it behind `kms:`.
            pub fn name(self) -> &'static str {
                match self { $(Action::$name => stringify!($name)),* }
            }
        }
    };
}

actions! {
    /// Reading what an instance is.
    DescribeInstance,
    /// Making an instance, and setting its recovery window.
    UpdateInstance,
    /// Listing names.
    ListSecrets,
    /// A new name, or the first version of a secret.
    CreateSecret,
    /// All that is known of a secret but its values.
    DescribeSecret,
    /// A value.
    GetSecretValue,
    /// A new version.
    PutSecretValue,
    /// Versions and their labels.
    ListSecretVersionIds,
    /// A description, a key, an owner, permission bits.
    UpdateSecret,
    /// A label, which may be ACSCurrent.
    UpdateSecretVersionStage,
    /// Scheduling a deletion.
    DeleteSecret,
    /// Taking a secret back from the trash.
    RestoreSecret,
    /// A purge: the end of a secret.
    ForceDeleteSecret,
    /// The end of one version of a secret.
    DestroySecretVersion,
    /// By which function a secret is rotated, and how often.
    UpdateSecretRotationPolicy,
    /// A run of that function, by hand.
    RotateSecret,
    /// Reading tags.
    ListTagResources,
    /// Adding or changing tags.
    TagResource,
    /// Removing tags.
    UntagResource,
    /// Reading a secret's policy.
    GetSecretPolicy,
    /// Writing a secret's policy.
    SetSecretPolicy,
    /// A password that is stored nowhere.
    GetRandomPassword,
    /// Listing keys.
    ListKeys,
    /// All that is known of a key but its material.
    DescribeKey,
    /// A new key.
    CreateKey,
    /// A key may be used again.
    EnableKey,
    /// A key may not be used until it is enabled.
    DisableKey,
    /// Writing a key's state, whichever it is to be.
    UpdateKeyState,
    /// A key may not be used, and will be destroyed.
    ScheduleKeyDeletion,
    /// A key will not be destroyed.
    CancelKeyDeletion,
    /// The end of a key.
    DestroyKey,
    /// A new version of a key.
    RotateKey,
    /// The versions of a key.
    ListKeyVersions,
    /// What is said of a key.
    UpdateKeyDescription,
    /// Reading a key's policy.
    GetKeyPolicy,
    /// Writing a key's policy.
    SetKeyPolicy,
    /// To open what was sealed under a key.
    Decrypt,
    /// To seal under a key.
    GenerateDataKey,
    /// A request to the api, which is of an action of its own.
    Ask,
    /// What the mount says of itself, to everybody.
    ReadStatus,
    /// The record of all decisions.
    ReadAudit,
    /// A copy of the whole store, sealed.
    BackUp,
}

impl Action {
    /// The name that policies know it by; `None` where no policy has an effect on it.
    pub fn in_policies(self) -> Option<&'static str> {
        use Action::*;
        match self {
            GetSecretValue
            | DescribeSecret
            | ListSecrets
            | ListSecretVersionIds
            | ListTagResources
            | PutSecretValue
            | UpdateSecret
            | UpdateSecretVersionStage
            | TagResource
            | UntagResource
            | DeleteSecret
            | RestoreSecret
            | UpdateSecretRotationPolicy
            | RotateSecret
            | Decrypt
            | GenerateDataKey => Some(self.name()),
            // KMS has one action for both, with a parameter; and none that destroys a version by itself.
            ForceDeleteSecret | DestroySecretVersion => Some(DeleteSecret.name()),
            DescribeInstance | UpdateInstance | CreateSecret | GetSecretPolicy | SetSecretPolicy
            | GetRandomPassword | ListKeys | DescribeKey | CreateKey | EnableKey | DisableKey | UpdateKeyState
            | ScheduleKeyDeletion | CancelKeyDeletion | DestroyKey | RotateKey | ListKeyVersions
            | UpdateKeyDescription | GetKeyPolicy | SetKeyPolicy | Ask | ReadStatus | ReadAudit | BackUp => None,
        }
    }

    /// What it does with the key of the value that it reads or writes; `None` where it does neither.
    pub fn of_key(self) -> Option<Action> {
        match self {
            Action::GetSecretValue => Some(Action::Decrypt),
            Action::PutSecretValue | Action::CreateSecret => Some(Action::GenerateDataKey),
            _ => None,
        }
    }

    /// Whether a policy can allow it to who is of another account than the secret's or key's own.
    pub fn is_for_guests(self) -> bool {
        use Action::*;
        matches!(
            self,
            GetSecretValue
                | DescribeSecret
                | ListSecrets
                | ListSecretVersionIds
                | ListTagResources
                | Decrypt
                | GenerateDataKey
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_the_names_of_kms() {
        assert_eq!(Action::GetSecretValue.name(), "GetSecretValue");
        assert_eq!(Action::ALL.first().map(|action| action.name()), Some("DescribeInstance"));
    }

    #[test]
    fn policies_know_some_of_them() {
        for (action, name, guests) in [
            (Action::GetSecretValue, Some("GetSecretValue"), true),
            (Action::PutSecretValue, Some("PutSecretValue"), false),
            (Action::DeleteSecret, Some("DeleteSecret"), false),
            (Action::ForceDeleteSecret, Some("DeleteSecret"), false),
            (Action::DestroySecretVersion, Some("DeleteSecret"), false),
            (Action::Decrypt, Some("Decrypt"), true),
            (Action::SetSecretPolicy, None, false),
            (Action::CreateSecret, None, false),
        ] {
            assert_eq!((action.in_policies(), action.is_for_guests()), (name, guests), "{action:?}");
        }
        let known = Action::ALL.iter().filter(|action| action.in_policies().is_some());
        assert_eq!(known.count(), 18, "those of docs/policies.md, a purge and a destruction, and two of keys");
    }
}
