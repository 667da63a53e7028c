//! Whose fault it is that a server did not answer.

use super::*;
use crate::relay::sorting::{Private, sort};

const PRIVATE: Private<'_> = Private { model: "q4.gguf", key: None };

fn kind(status: u16, body: &str) -> Option<FaultKind> {
    match sort(status, None, body.as_bytes(), PRIVATE, "public") {
        AttemptFailure::Fault(fault) => Some(fault.kind),
        _ => None,
    }
}

#[test]
fn only_a_failing_server_speaks_for_itself() {
    let says = |status| match sort(status, None, br#"{"error":"out of memory"}"#, PRIVATE, "public") {
        AttemptFailure::Fault(fault) => fault.says.into_owned(),
        other => format!("{other:?}"),
    };
    assert_eq!((says(500), says(418)), ("it answered 500: out of memory".into(), "it answered with an error".into()));
}

#[test]
fn whose_fault_it_is() {
    let says = |message: &str| serde_json::json!({"error": {"message": message}}).to_string();
    assert_eq!(kind(404, &says("The model `q4.gguf` does not exist.")), Some(FaultKind::UnknownModel));
    assert_eq!(kind(400, &says("model 'q4.gguf' not found")), Some(FaultKind::UnknownModel));
    assert_eq!(kind(404, ""), Some(FaultKind::Settings(404)));
    assert_eq!(kind(404, r#"{"detail":"Not Found"}"#), Some(FaultKind::Settings(404)));
    assert_eq!(kind(404, &says("File Not Found")), Some(FaultKind::Settings(404)));
    assert_eq!(kind(404, &says("previous response resp_1 not found")), None);
    for status in [401, 403, 405, 501] {
        assert_eq!(kind(status, ""), Some(FaultKind::Settings(status)));
    }
    for status in [418, 500, 502, 504, 520] {
        assert_eq!(kind(status, "{}"), Some(FaultKind::Error(status)));
    }
    for status in [400, 409, 413, 422, 429, 503, 529] {
        assert_eq!(kind(status, ""), None, "{status}");
    }
}

#[test]
fn a_refusal_of_the_server_keeps_its_words_and_the_public_name() {
    let body = r#"{"error":{"message":"q4.gguf takes 5 tokens","code":"context_length_exceeded","n_ctx":5}}"#;
    let AttemptFailure::Request(e) = sort(400, None, body.as_bytes(), PRIVATE, "public") else { panic!("no refusal") };
    assert_eq!((e.status, e.reason.message.as_str()), (400, "public takes 5 tokens"));
    assert_eq!(e.reason.code.as_deref(), Some("context_length_exceeded"));
    let body = r#"{"error":{"message":"Loading model"}}"#;
    let failed = sort(503, Some(Duration::from_secs(7)), body.as_bytes(), PRIVATE, "public");
    let AttemptFailure::Busy { status: 503, says: Some(says), wait: Some(_) } = failed else { panic!("{failed:?}") };
    assert_eq!(says, "Loading model");
}

fn failed(kind: FaultKind) -> AttemptFailure {
    AttemptFailure::Fault(Fault { kind, why: String::new(), says: "x".into() })
}

/// What comes of servers 1, 2, … that fail in these ways, one after the other.
fn end_of(kinds: &[(i64, FaultKind)]) -> Option<Refusal> {
    let mut tried = Attempts::default();
    let note = |(id, kind): &(i64, FaultKind)| tried.note(ProviderId::from_i64(*id), failed(*kind));
    kinds.iter().find_map(note)
}

#[test]
fn two_that_fail_alike_mean_the_request_and_three_are_asked_at_most() {
    use FaultKind::{Error, HungUp, Settings, Stale, UnknownModel, Unreached, Unusable};
    let at_fault = |end: &Option<Refusal>| matches!(end, Some(Refusal::ProviderError { is_final: true, .. }));
    for (one, two) in [(HungUp, HungUp), (Error(500), Error(500)), (Unusable, Unusable), (Stale, HungUp)] {
        assert!(end_of(&[(1, one)]).is_none());
        let end = end_of(&[(1, one), (2, two)]);
        assert!(at_fault(&end), "{one:?} {two:?} {end:?}");
        // One server is not two.
        assert!(end_of(&[(1, one), (1, two)]).is_none());
    }
    // Two kept connections may both have been closed long ago.
    assert!(end_of(&[(1, Stale), (2, Stale)]).is_none());
    let three = [(1, Error(500)), (2, Error(502)), (3, HungUp)];
    assert!(end_of(&three[..2]).is_none());
    assert!(matches!(end_of(&three), Some(Refusal::ProviderError { is_final: false, .. })));
    // Whom the request did not reach was not asked; wrong settings are nobody's request.
    assert!(
        end_of(&[(1, Unreached), (2, Unreached), (3, Unreached), (4, Settings(401)), (5, Settings(401))]).is_none()
    );
    let mut tried = Attempts::default();
    assert!(tried.note(ProviderId::from_i64(1), failed(UnknownModel)).is_none());
    assert_eq!(tried.on(), On::Any);
    assert!(matches!(tried.end("m", None), Refusal::ModelNotFound(_)));
    let mut tried = Attempts::default();
    assert!(tried.note(ProviderId::from_i64(1), failed(Stale)).is_none());
    assert_eq!(tried.on(), On::Fresh);
    assert!(matches!(Attempts::default().end("m", None), Refusal::ProvidersFull(None)));
}

#[test]
fn one_request_sent_again_is_the_same_request() {
    let (ada, bob) = (AccountId::from_i64(1), AccountId::from_i64(2));
    let long = vec![b'x'; 100_000];
    assert_eq!(print(&long, ada), print(&long, ada));
    assert_ne!(print(&long, ada), print(&long, bob));
    assert_ne!(print(&long, ada), print(long.get(1..).unwrap_or_default(), ada));
}
