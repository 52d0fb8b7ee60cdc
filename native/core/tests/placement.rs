//! Holds placement against the vectors in tests/placement/*.json.

use serde::Deserialize;
use serde_json::{Value, json};
use vdconv_core::layout::{Codec, Framing, Layout, Packing, SideTable, TableGroup, TablePlace, TargetCodec};
use vdconv_core::log::{COMPRESSED, Log, PLAIN, SIDE, TABLE, ZERO};
use vdconv_core::placement::{Placer, Stored};
use vdconv_core::replay::Replay;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    layout: Value,
    blocks: Vec<(u64, i64)>,
    expect: Vec<Value>,
    host_end: u64,
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} in {value}"))
}

fn layout(v: &Value) -> Layout {
    let present = |key: &str| v.get(key).filter(|x| !x.is_null());
    Layout {
        packing: if v["kind"] == "flat" { Packing::Flat } else { Packing::Blocks },
        data_start: number(v, "dataStart"),
        block_size: number(v, "blockSize"),
        data_align: number(v, "dataAlign"),
        data_phase: number(v, "dataPhase"),
        prefix_bytes: number(v, "prefixBytes"),
        prefix_fill: number(v, "prefixFill") as u8,
        tables: present("tables").map(|t| TableGroup {
            blocks: number(t, "blocks"),
            bytes: number(t, "bytes"),
            align: number(t, "align"),
            marker: number(t, "marker"),
            place: if t["place"] == "after" { TablePlace::After } else { TablePlace::Before },
        }),
        side: present("side").map(|s| SideTable { every: number(s, "every"), bytes: number(s, "bytes") }),
        codec: present("codec").map(|c| TargetCodec {
            codec: if c["name"] == "zlib" { Codec::Zlib } else { Codec::Deflate },
            level: number(c, "level") as u32,
            window_bits: number(c, "windowBits") as u8,
            packing: number(c, "packing"),
            framing: if c["framing"] == "grain-marker" { Framing::GrainMarker } else { Framing::None },
            incompressible_plain: c["incompressible"] == "plain",
            max_share: number(c, "maxShare") as u32,
        }),
        explicit_zeros: v["explicitZeros"] == true,
        store_all: v["storeAll"] == true,
    }
}

fn entries(log: &Log) -> Vec<Value> {
    (0..log.len())
        .map(|i| {
            let (index, offset) = (log.index[i] as u64, log.offset[i] as u64);
            match log.kind[i] {
                PLAIN => json!(["plain", index, log.blocks[i] as u64, offset]),
                COMPRESSED => json!(["compressed", index, offset, log.stored[i]]),
                TABLE => json!(["table", index, offset]),
                SIDE => json!(["side", index, offset]),
                ZERO => json!(["zero", index, log.blocks[i] as u64]),
                other => panic!("kind {other}"),
            }
        })
        .collect()
}

fn vectors() -> Vec<(String, Vector)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/placement");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let vector = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            (path.file_stem().unwrap().to_string_lossy().into_owned(), vector)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn placement_agrees_with_every_vector() {
    let vectors = vectors();
    assert!(vectors.len() >= 12, "only {} vectors were found", vectors.len());
    for (name, vector) in vectors {
        let layout = layout(&vector.layout);
        layout.check().unwrap();
        let mut placer = Placer::new(&layout);
        let mut log = Log::default();
        for (block, stored) in vector.blocks {
            match stored {
                ..0 => placer.zeros(block, block + 1, &mut log).unwrap(),
                0 => drop(placer.place(block, Stored::Plain, &mut log).unwrap()),
                n => drop(placer.place(block, Stored::Compressed(n as u32), &mut log).unwrap()),
            }
        }
        let end = placer.finish(&mut log).unwrap();
        assert_eq!(entries(&log), vector.expect, "{name}");
        assert_eq!(end, vector.host_end, "{name}");
    }
}

#[test]
fn a_replay_of_the_same_blocks_reports_the_same() {
    for (name, vector) in vectors() {
        if vector.blocks.iter().any(|(_, stored)| *stored != 0) {
            continue; // A scan knows neither compressed lengths nor zeros.
        }
        let blocks = vector.blocks.last().map_or(1, |(block, _)| block + 1);
        let mut bits = vec![0u8; blocks.div_ceil(8) as usize];
        for (block, _) in &vector.blocks {
            bits[(block / 8) as usize] |= 1 << (block % 8);
        }
        let mut replay = Replay::new(&layout(&vector.layout), bits);
        let mut seen = Vec::new();
        while let Some(log) = replay.next(1_000_000).unwrap() {
            seen.extend(entries(&log));
        }
        assert_eq!(seen, vector.expect, "{name}");
        assert_eq!(replay.host_end(), Some(vector.host_end), "{name}");
    }
}
