//! What the boundary costs. Run with
//! `cargo xtask connectors --release && cargo test --release --test it figures -- --ignored --nocapture`.

use std::time::Instant;

use tether::connectors::proto::{RevokeRequest, stream_event::Event};

use super::{connection, dummy, everything, native, read, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn figures() {
    const CALLS: u32 = 20_000;
    let settings = [
        ("companies", "200000"),
        ("batch", "1000"),
        ("checkpoint_every", "4000"),
    ];
    let (_registry, connector) = dummy(&settings, true).await;
    let started = Instant::now();
    for _ in 0..CALLS {
        connector
            .revoke(
                RevokeRequest {
                    connection: Some(connection(&[])),
                },
                soon(),
            )
            .await
            .unwrap();
    }
    println!("call: {:?}", started.elapsed() / CALLS);

    let selection = everything(&connector).await;
    let mut stream = connector
        .read(read(&selection[..1], &[], b""), None)
        .await
        .unwrap();
    let (started, mut rows, mut bytes) = (Instant::now(), 0, 0);
    loop {
        match stream.next(0).await.unwrap() {
            Event::Batch(batch) => {
                rows += batch.records.len() as u32;
                bytes += batch
                    .records
                    .iter()
                    .map(|record| record.payload.len())
                    .sum::<usize>();
            }
            Event::End(_) => break,
            _ => {}
        }
    }
    println!(
        "row, through the library: {:?} ({rows} rows, {} bytes each)",
        started.elapsed() / rows,
        bytes / rows as usize
    );

    // Most of that is the dummy's making rows up: the same without a library tells.
    let native = native(&settings);
    let number = native.read(read(&selection[..1], &[], b"")).await.unwrap();
    let started = Instant::now();
    while !matches!(native.next(number, 0).await.unwrap().event, Some(Event::End(_))) {}
    println!("row, without: {:?}", started.elapsed() / rows);
}
