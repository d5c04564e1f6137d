//! What the boundary costs. Run with
//! `cargo xtask connectors --release && cargo test --release --test it figures -- --ignored --nocapture`.

use std::time::Instant;

use tether::connectors::proto::{RevokeRequest, stream_event::Event};

use super::{connection, dummy, everything, read, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn figures() {
    const CALLS: u32 = 20_000;
    let (_registry, connector) = dummy(&[
        ("companies", "200000"),
        ("batch", "1000"),
        ("checkpoint_every", "4000"),
    ])
    .await;
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
        "row, made by the dummy: {:?} ({rows} rows, {} bytes each)",
        started.elapsed() / rows,
        bytes / rows as usize
    );
}
