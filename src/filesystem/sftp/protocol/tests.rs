use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn attributes() -> impl Strategy<Value = Attributes> {
    (option::of(any::<u64>()), option::of(any::<(u32, u32)>()), option::of(any::<u32>()), option::of(any::<(u32, u32)>()))
        .prop_map(|(size, owner, mode, times)| Attributes { size, owner, mode, times })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (bytes(), any::<u32>(), attributes()).prop_map(|(path, flags, attributes)| Request::Open {
            path,
            flags: OpenFlags(flags),
            attributes
        }),
        bytes().prop_map(|handle| Request::Close { handle }),
        (bytes(), any::<u64>(), any::<u32>()).prop_map(|(handle, offset, length)| Request::Read { handle, offset, length }),
        (bytes(), any::<u64>(), bytes()).prop_map(|(handle, offset, data)| Request::Write { handle, offset, data }),
        bytes().prop_map(|path| Request::Lstat { path }),
        bytes().prop_map(|handle| Request::Fstat { handle }),
        (bytes(), attributes()).prop_map(|(path, attributes)| Request::Setstat { path, attributes }),
        (bytes(), attributes()).prop_map(|(handle, attributes)| Request::Fsetstat { handle, attributes }),
        bytes().prop_map(|path| Request::Opendir { path }),
        bytes().prop_map(|handle| Request::Readdir { handle }),
        bytes().prop_map(|path| Request::Remove { path }),
        (bytes(), attributes()).prop_map(|(path, attributes)| Request::Mkdir { path, attributes }),
        bytes().prop_map(|path| Request::Rmdir { path }),
        bytes().prop_map(|path| Request::Realpath { path }),
        bytes().prop_map(|path| Request::Stat { path }),
        (bytes(), bytes()).prop_map(|(from, to)| Request::Rename { from, to }),
        bytes().prop_map(|path| Request::Readlink { path }),
        (bytes(), bytes()).prop_map(|(target, link)| Request::Symlink { target, link }),
        (bytes(), bytes()).prop_map(|(from, to)| Request::PosixRename { from, to }),
        bytes().prop_map(|handle| Request::Fsync { handle }),
        (bytes(), bytes()).prop_map(|(from, to)| Request::Hardlink { from, to }),
        Just(Request::Limits),
        (vec(any::<u32>(), 0..5), vec(any::<u32>(), 0..5)).prop_map(|(users, groups)| Request::UsersGroupsById { users, groups }),
        bytes().prop_map(|data| Request::Extended { name: Bytes::from_static(b"x@example.org"), data }),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        ((0..9u32), bytes()).prop_map(|(code, message)| {
            let packet = [&[101, 0, 0, 0, 0][..], &code.to_be_bytes()].concat();
            match decode_response(packet.into()) {
                Ok((_, Response::Status { status, .. })) => Response::Status { status, message },
                other => panic!("{other:?}"),
            }
        }),
        bytes().prop_map(|handle| Response::Handle { handle }),
        bytes().prop_map(|data| Response::Data { data }),
        vec((bytes(), bytes(), attributes()), 0..5).prop_map(|entries| Response::Name {
            entries: entries.into_iter().map(|(name, long_name, attributes)| NameEntry { name, long_name, attributes }).collect()
        }),
        attributes().prop_map(|attributes| Response::Attrs { attributes }),
        bytes().prop_map(|data| Response::ExtendedReply { data }),
    ]
}

fn only_packet(mut buffer: BytesMut) -> Bytes {
    let packet = split_packet(&mut buffer).unwrap().unwrap();
    assert!(buffer.is_empty(), "one packet was written");
    packet
}

proptest! {
    #[test]
    fn a_request_comes_back(id: u32, request in request()) {
        let mut buffer = BytesMut::new();
        encode_request(id, &request, &mut buffer);
        prop_assert_eq!(decode_request(only_packet(buffer)).unwrap(), (id, request));
    }

    #[test]
    fn a_response_comes_back(id: u32, response in response()) {
        let mut buffer = BytesMut::new();
        encode_response(id, &response, &mut buffer);
        prop_assert_eq!(decode_response(only_packet(buffer)).unwrap(), (id, response));
    }

    #[test]
    fn a_version_comes_back(version: u32, extensions in vec((bytes(), bytes()), 0..4)) {
        let mut buffer = BytesMut::new();
        let response = Response::Version { version, extensions };
        encode_response(0, &response, &mut buffer);
        prop_assert_eq!(decode_response(only_packet(buffer)).unwrap(), (0, response));
    }

    #[test]
    fn a_cut_packet_is_an_error_or_a_shorter_value_and_never_a_panic(request in request(), response in response(), keep in 0.0..1.0f64) {
        let mut buffer = BytesMut::new();
        encode_request(1, &request, &mut buffer);
        let mut other = BytesMut::new();
        encode_response(1, &response, &mut other);
        for mut buffer in [buffer, other] {
            let whole = buffer.split_off(4).freeze();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a small length")]
            let cut = whole.slice(..(whole.len() as f64 * keep) as usize);
            let _ = decode_request(cut.clone());
            let _ = decode_response(cut);
        }
    }

    #[test]
    fn rubbish_never_panics(packet in vec(any::<u8>(), 0..200), users in 0..4usize) {
        let packet = Bytes::from(packet);
        let _ = decode_request(packet.clone());
        let _ = decode_response(packet.clone());
        let _ = decode_names(packet.clone(), users, users);
        let _ = ServerLimits::decode(packet.clone());
        let _ = split_packet(&mut BytesMut::from(packet.as_ref()));
    }

    #[test]
    fn packets_are_found_however_the_bytes_arrive(requests in vec(request(), 1..6), piece in 1..50usize) {
        let mut sent = BytesMut::new();
        for (id, request) in (0..).zip(&requests) {
            encode_request(id, request, &mut sent);
        }
        let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
        for part in sent.chunks(piece) {
            buffer.extend_from_slice(part);
            while let Some(packet) = split_packet(&mut buffer).unwrap() {
                found.push(decode_request(packet).unwrap().1);
            }
        }
        prop_assert_eq!(found, requests);
    }
}

#[test]
fn an_oversized_length_is_refused_before_anything_is_allocated() {
    let mut buffer = BytesMut::from(&[0xFF, 0xFF, 0xFF, 0xFF, 101][..]);
    assert_eq!(split_packet(&mut buffer), Err(Malformed::Long(u32::MAX)));
    assert!(buffer.capacity() < MAX_PACKET);
}

#[test]
fn a_list_that_claims_more_entries_than_its_packet_holds_is_refused() {
    let packet = [&[104, 0, 0, 0, 1][..], &u32::MAX.to_be_bytes()].concat();
    assert_eq!(decode_response(packet.into()), Err(Malformed::Count(u32::MAX)));
}

#[test]
fn a_symbolic_link_goes_out_with_its_target_first() {
    let mut buffer = BytesMut::new();
    let request = Request::Symlink { target: Bytes::from_static(b"T"), link: Bytes::from_static(b"L") };
    encode_request(7, &request, &mut buffer);
    assert_eq!(buffer.as_ref(), [0, 0, 0, 15, 20, 0, 0, 0, 7, 0, 0, 0, 1, b'T', 0, 0, 0, 1, b'L']);
}

#[test]
fn a_status_without_a_message_is_understood() {
    let packet = Bytes::from_static(&[101, 0, 0, 0, 9, 0, 0, 0, 4]);
    assert_eq!(decode_response(packet).unwrap(), (9, Response::Status { status: Status::Failure, message: Bytes::new() }));
}

#[test]
fn names_come_back() {
    let (users, groups) = (vec![Bytes::from_static(b"root"), Bytes::new()], vec![Bytes::from_static(b"domain users")]);
    assert_eq!(decode_names(encode_names(&users, &groups), 2, 1).unwrap(), (users, groups));
}
