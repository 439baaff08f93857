//! RESP: read as it was written, whole or in pieces, and no bytes that do harm.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::udp::resp::{
    Malformed, REQUEST_BYTES_MAX, Value, Version, WORD_BYTES_MAX, WORDS_MAX, reply, request,
    write_request,
};

fn written(words: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_request(words, &mut bytes);
    bytes
}

#[test]
fn a_request_is_read_as_it_was_written_and_not_before_it_is_whole() {
    let bytes = written(&["SET", "colour", "gr\r\nün", ""]);
    for end in 0..bytes.len() {
        assert_eq!(request(&bytes[..end]), Ok(None), "{end} bytes");
    }
    let words: Vec<String> = ["SET", "colour", "gr\r\nün", ""].map(Into::into).into();
    let followed = [bytes.as_slice(), b"*1\r\n"].concat();
    assert_eq!(request(&followed), Ok(Some((words, bytes.len()))));
}

#[test]
fn a_line_is_a_request_too() {
    let words = vec!["GET".to_owned(), "key".to_owned()];
    assert_eq!(request(b"  GET  key\r\nrest"), Ok(Some((words, 12))));
    assert_eq!(request(b"\r\n"), Ok(Some((Vec::new(), 2))));
    assert_eq!(request(b"PING"), Ok(None));
}

#[test]
fn what_can_never_become_a_request_is_refused_at_once() {
    for (bytes, why) in [
        (b"*x\r\n".as_slice(), Malformed::Length),
        (b"*-2\r\n", Malformed::Length),
        (b"*129\r\n", Malformed::Length),
        (b"*99999999999999999999\r\n", Malformed::Length),
        (b"*1111111111111111111111111111", Malformed::Length),
        (b"*1\n$1\r\n", Malformed::End),
        (b"*1\r\n*1\r\n*1\r\n", Malformed::Sign),
        (b"*1\r\n:1\r\n", Malformed::Sign),
        (b"*1\r\n$4097\r\n", Malformed::Length),
        (b"*1\r\n$-1\r\n", Malformed::Length),
        (b"*1\r\n$1\r\nabc", Malformed::End),
        (b"*1\r\n$1\r\n\xff\r\n", Malformed::NotText),
        (b"GET \xff\r\n", Malformed::NotText),
    ] {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(request(bytes), Err(why), "{text}");
    }
    let endless = vec![b'x'; REQUEST_BYTES_MAX];
    assert_eq!(request(&endless), Err(Malformed::TooLong));
    // The longest request that is allowed is longer than what is waited for: that is refused too.
    let longest = "x".repeat(WORD_BYTES_MAX);
    let longest = written(&vec![longest.as_str(); WORDS_MAX]);
    assert_eq!(
        request(&longest[..REQUEST_BYTES_MAX]),
        Err(Malformed::TooLong)
    );
}

#[test]
fn a_reply_that_nests_without_end_is_refused() {
    assert_eq!(reply(&b"*1\r\n".repeat(10_000)), Err(Malformed::Nested));
    assert_eq!(reply(b"*2\r\n:1\r\n"), Ok(None));
    let pair = Value::Array(vec![Value::Nil, Value::Bulk("x".into())]);
    assert_eq!(reply(b"*2\r\n_\r\n$1\r\nx\r\n"), Ok(Some((pair, 14))));
}

fn values() -> impl Strategy<Value = Value> {
    let line = "[a-zA-Z ]{0,9}";
    let leaf = prop_oneof![
        line.prop_map(Value::Simple),
        line.prop_map(Value::Error),
        any::<i64>().prop_map(Value::Number),
        any::<String>().prop_map(Value::Bulk),
        Just(Value::Nil),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((inner.clone(), inner), 0..3).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn a_reply_is_read_as_it_was_written(value in values()) {
        let mut bytes = Vec::new();
        value.write(Version::Three, &mut bytes);
        prop_assert_eq!(reply(&bytes), Ok(Some((value, bytes.len()))));
        for end in 0..bytes.len() {
            prop_assert_eq!(reply(&bytes[..end]), Ok(None));
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in vec(prop_oneof![
        Just(b'*'), Just(b'$'), Just(b':'), Just(b'%'), Just(b'\r'), Just(b'\n'), Just(b'1'), any::<u8>(),
    ], 0..64)) {
        if let Ok(Some((_, taken))) = request(&bytes) {
            prop_assert!((1..=bytes.len()).contains(&taken));
        }
        if let Ok(Some((_, taken))) = reply(&bytes) {
            prop_assert!((1..=bytes.len()).contains(&taken));
        }
    }
}
