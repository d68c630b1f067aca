//! What an error of Kafka means for the one who asked.

use super::acls::Operation;
use super::ffi::CallError;
use crate::log::{CommitOutcome, LogError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Whether an error says that another owner has taken the transactional id or the member's place.
pub(super) fn is_fencing(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::FencedInstanceId)
}

/// Whether an error says that the network or a broker failed, so that requests may still be under way.
pub(super) fn is_transport(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::RequestTimedOut
            | Code::NetworkException
            | Code::Resolve
            | Code::Authentication
            | Code::SSL
    )
}

/// Whether an error says that the cluster does not let this client in, or is not the one that it trusts.
pub(super) fn is_barring(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication | Code::SSL | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism
    )
}

/// Whether a partition is without a leader for a moment, or has another one than the client thought, or that one does not
/// answer: it may be no more.
pub(super) fn is_moving(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| {
        matches!(
            code,
            Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::UnknownTopicOrPartition
                | Code::UnknownPartition
                | Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
        )
    })
}

/// The leave that is missing, in the words of an ACL; nothing where the error says something else. `of` = names of topics,
/// of a group or of a transactional id, whichever the error is about.
pub(super) fn lacking(code: Code, operation: Operation, of: &str) -> String {
    let resource = match code {
        Code::TopicAuthorizationFailed => "topic",
        Code::GroupAuthorizationFailed => "group",
        Code::TransactionalIdAuthorizationFailed => "transactional id",
        _ => return String::new(),
    };
    format!("; needed: {operation} on {resource} {of}")
}

/// How a transaction ended that met an error before its end was asked for: nothing of it will be visible.
pub(super) fn before_the_end(error: &CallError, what: &str) -> CommitOutcome {
    let text = format!("{what}: {} ({})", error.text, error.code);
    if is_fencing(error.code) { CommitOutcome::Fenced(text) } else { CommitOutcome::Aborted(text) }
}

/// What a failed question means.
pub(super) fn asked(what: &str, error: &KafkaError) -> LogError {
    judged(format!("{what}: {error}"), error)
}

/// The same where leave may be lacking, which is then named as in [`lacking`].
pub(super) fn needing(what: &str, error: &KafkaError, operation: Operation, of: &str) -> LogError {
    let lacking = error.rdkafka_error_code().map(|code| lacking(code, operation, of)).unwrap_or_default();
    judged(format!("{what}: {error}{lacking}"), error)
}

fn judged(text: String, error: &KafkaError) -> LogError {
    match error.rdkafka_error_code() {
        Some(code) if is_final(code) => LogError::Io(text),
        _ => LogError::Retriable(text),
    }
}

/// Taking a transactional id has failed.
pub(super) fn taking(id: &str, error: &CallError) -> LogError {
    let lacking = lacking(error.code, Operation::Write, id);
    let text = format!("taking the transactional id {id}: {} ({}){lacking}", error.text, error.code);
    match error.code {
        code if is_fencing(code) => LogError::Fenced(text),
        code if is_final(code) => LogError::Io(text),
        _ => LogError::Retriable(text),
    }
}

/// Errors that waiting does not mend: rights, settings, versions.
pub(super) fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::InvalidTransactionTimeout
            | Code::InvalidSessionTimeout
            | Code::UnsupportedVersion
            | Code::UnsupportedSASLMechanism
            | Code::SecurityDisabled
            | Code::InvalidArgument
    )
}
