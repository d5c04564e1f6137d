//! A library without a file, driven through its C table by a host that records its callbacks.

use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use tether_connector_abi::CONNECTOR_API_SIZE_0;

use super::*;
use crate::proto::{
    CallRequest, CallResponse, CountRecordsRequest, CountRecordsResponse, DescribeRequest, DescribeResponse,
    ErrorKind, FetchCompanyRequest, FetchCompanyResponse, ListFieldsRequest, ListFieldsResponse, ReadRequest,
    ReadResponse, StreamEvent, StreamNext, call_request::Call, call_response, stream_event,
};
use crate::{CallContext, ReadStream};

struct Stubborn;

impl Connector for Stubborn {
    fn open(_: Host, _: OpenRequest) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> DescribeResponse {
        DescribeResponse {
            connector: "stubborn".to_owned(),
            ..DescribeResponse::default()
        }
    }

    async fn list_fields(&self, _: CallContext, _: ListFieldsRequest) -> Result<ListFieldsResponse, Error> {
        std::future::pending().await
    }

    async fn count_records(
        &self,
        _: CallContext,
        _: CountRecordsRequest,
    ) -> Result<CountRecordsResponse, Error> {
        panic!("as it must")
    }

    async fn fetch_company(
        &self,
        _: CallContext,
        _: FetchCompanyRequest,
    ) -> Result<FetchCompanyResponse, Error> {
        std::future::pending().await
    }

    async fn read(&self, _: CallContext, _: ReadRequest, _: ReadStream) -> Result<(), Error> {
        std::future::pending().await
    }
}

static ANSWERS: Mutex<Vec<(u64, Vec<u8>)>> = Mutex::new(Vec::new());
static POISONED: AtomicI64 = AtomicI64::new(0);

unsafe extern "C" fn on_complete(call: u64, answer: Buffer) {
    ANSWERS.lock().unwrap().push((call, answer.as_ref().to_vec()));
}
unsafe extern "C" fn on_log(_: u64, _: u32, _: Slice, _: Slice) {}
unsafe extern "C" fn on_now() -> i64 {
    1
}
unsafe extern "C" fn on_notify(_: u64, _: u32) {
    POISONED.fetch_add(1, Ordering::Relaxed);
}

fn host() -> HostApi {
    HostApi {
        struct_size: HOST_API_SIZE_0,
        minor: 0,
        max_log_level: 0,
        reserved: 0,
        complete: Some(on_complete),
        log: Some(on_log),
        now_us: Some(on_now),
        notify: Some(on_notify),
    }
}

mod library {
    use super::Stubborn;
    crate::export_connector!(Stubborn);
}

unsafe extern "C" {
    fn tether_connector_v1(host: *const HostApi, out: *mut ConnectorApi, err: *mut Buffer) -> i32;
}

fn shake(host: &HostApi, room: u32) -> Result<ConnectorApi, Error> {
    let mut api = ConnectorApi {
        struct_size: room,
        ..ConnectorApi::default()
    };
    let mut err = Buffer::empty();
    // SAFETY: all three live until it returns.
    let status = unsafe { tether_connector_v1(host, &mut api, &mut err) };
    if status == status::OK {
        Ok(api)
    } else {
        Err(Error::decode(err.as_ref()).unwrap())
    }
}

/// All answers to a call, after the first has arrived; a second one would have arrived with it.
fn answers(call: u64) -> Vec<Vec<u8>> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let found: Vec<_> = ANSWERS
            .lock()
            .unwrap()
            .iter()
            .filter(|(id, _)| *id == call)
            .map(|(_, answer)| answer.clone())
            .collect();
        if !found.is_empty() || Instant::now() > until {
            return found;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn one_error(call: u64) -> Error {
    let answers = answers(call);
    assert_eq!(answers.len(), 1, "call {call}");
    match CallResponse::decode(answers[0].as_slice()).unwrap().result {
        Some(call_response::Result::Error(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// An open instance of the library.
struct Opened {
    api: ConnectorApi,
    instance: u64,
}

impl Opened {
    fn of(api: ConnectorApi) -> Self {
        let (mut instance, mut err) = (0, Buffer::empty());
        let open = api.open.unwrap();
        // SAFETY: the request and both places live until it returns.
        let opened = unsafe { open(7, Slice::new(&[]), &mut instance, &mut err) };
        assert_eq!(opened, status::OK);
        Self { api, instance }
    }

    fn ask(&self, id: u64, what: Call) {
        let call = self.api.call.unwrap();
        let request = CallRequest {
            deadline_us: 0,
            call: Some(what),
        }
        .encode_to_vec();
        // SAFETY: the request lives until it returns.
        unsafe { call(self.instance, id, Slice::new(&request)) }
    }

    fn hang(&self, id: u64) {
        self.ask(id, Call::ListFields(ListFieldsRequest::default()));
    }

    fn close(&self) {
        let close = self.api.close.unwrap();
        // SAFETY: numbers may be anything.
        unsafe { close(self.instance) };
    }
}

#[test]
fn a_library_keeps_to_the_abi() {
    let library = Opened::of(tables_shake_hands());
    a_call_is_answered_once(&library);
    malformed_calls_are_answered(&library);
    pulls_come_one_at_a_time(&library);
    a_panic_fails_all_later_calls(&library);
    closing_answers_what_is_open(&library);
    for id in 1..=10 {
        assert_eq!(answers(id).len(), 1, "call {id}");
    }
}

/// Tables that are too small, or lack a function, are refused.
fn tables_shake_hands() -> ConnectorApi {
    assert!(
        shake(
            &HostApi {
                struct_size: 8,
                ..host()
            },
            CONNECTOR_API_SIZE_0
        )
        .unwrap_err()
        .message
        .contains("8")
    );
    assert!(shake(&host(), 16).unwrap_err().message.contains("16"));
    assert!(shake(&HostApi { log: None, ..host() }, CONNECTOR_API_SIZE_0).is_err());
    let api = shake(&host(), 4096).unwrap();
    assert_eq!(api.struct_size, CONNECTOR_API_SIZE_0);
    api
}

/// Although it is cancelled twice.
fn a_call_is_answered_once(library: &Opened) {
    let (cancel, instance) = (library.api.cancel.unwrap(), library.instance);
    library.hang(1);
    // SAFETY: numbers may be anything.
    unsafe {
        cancel(instance, 1);
        cancel(instance, 1);
        cancel(instance, 999);
        cancel(999, 1);
    }
    assert!(one_error(1).is(ErrorKind::Cancelled));
}

/// Garbage, an unknown instance and a missing stream.
fn malformed_calls_are_answered(library: &Opened) {
    let (call, instance) = (library.api.call.unwrap(), library.instance);
    let (next, stream_close) = (
        library.api.stream_next.unwrap(),
        library.api.stream_close.unwrap(),
    );
    // SAFETY: the request lives until it returns.
    unsafe {
        call(instance, 2, Slice::new(b"\xff\xff"));
        call(999, 3, Slice::new(&[]));
        next(
            instance,
            4,
            999,
            Slice::new(&StreamNext::default().encode_to_vec()),
        );
        stream_close(instance, 999);
    }
    assert!(one_error(2).is(ErrorKind::Bug));
    assert!(one_error(3).is(ErrorKind::Cancelled));
    assert_eq!(answers(4).len(), 1);
}

fn pulls_come_one_at_a_time(library: &Opened) {
    let (next, instance) = (library.api.stream_next.unwrap(), library.instance);
    library.ask(5, Call::Read(ReadRequest::default()));
    let stream = match CallResponse::decode(answers(5)[0].as_slice()).unwrap().result {
        Some(call_response::Result::Read(ReadResponse { stream })) => stream,
        other => panic!("{other:?}"),
    };
    let pull = StreamNext::default().encode_to_vec();
    // SAFETY: the request lives until it returns.
    unsafe {
        next(instance, 6, stream, Slice::new(&pull));
        next(instance, 7, stream, Slice::new(&pull));
    }
    match StreamEvent::decode(answers(7)[0].as_slice()).unwrap().event {
        Some(stream_event::Event::Error(error)) => assert!(error.is(ErrorKind::Bug)),
        other => panic!("{other:?}"),
    }
}

fn a_panic_fails_all_later_calls(library: &Opened) {
    library.ask(8, Call::CountRecords(CountRecordsRequest::default()));
    assert!(one_error(8).is(ErrorKind::Bug));
    assert_eq!(POISONED.load(Ordering::Relaxed), 1);
    library.ask(9, Call::Describe(DescribeRequest {}));
    assert_eq!(one_error(9).code, "connector.panicked");
}

/// Before it returns; closing again does nothing.
fn closing_answers_what_is_open(library: &Opened) {
    library.close();
    let open_pull = ANSWERS.lock().unwrap().iter().filter(|(id, _)| *id == 6).count();
    assert_eq!(open_pull, 1);
    library.close();
    library.hang(10);
    assert!(one_error(10).is(ErrorKind::Cancelled));
}

/// Tables of a later minor version on one side only: each side reads and writes the part that both know.
#[test]
fn tables_of_other_sizes_meet() {
    let (new, old) = ([7_u64, 8, 9], 16);
    // SAFETY: an array of three has room for two.
    assert_eq!(unsafe { read_table(&raw const new, old) }, [7, 8, 0]);
    // SAFETY: more than a reader knows is never read.
    assert_eq!(unsafe { read_table(&raw const new, 24) }, new);
    let mut room = [1_u64; 3];
    // SAFETY: as above.
    unsafe { fill_table(&raw mut room, old, &new) };
    assert_eq!(room, [7, 8, 1]);
    let mut larger = [1_u64; 4];
    // SAFETY: four have room for three.
    unsafe { fill_table((&raw mut larger).cast::<[u64; 3]>(), 32, &new) };
    assert_eq!(larger, [7, 8, 9, 1]);
}
