//! A repository that was written once and is never made anew: every later version must read it. See its README.

use std::{path::PathBuf, sync::Arc};

use repository::{Repository, store::DirectoryStore, verify::Structure};

use crate::{
    fingerprint,
    reader::read_volume,
    second_reader::{SecondReader, Secret},
};

const KEY_FILE: &str = include_str!("../golden/v1/key");
const PASSPHRASE: &str = "correct horse battery staple";

/// Id, series, parent, bytes of the volume, and its fingerprint; by the time they were committed.
const POINTS: &[(&str, &str, Option<&str>, usize, &str)] = &[
    (
        "f5be9460ffeb9ff179b2791d00000000",
        "db",
        None,
        1311232,
        "cc1accd9f5e3c69cf5384e6ad673f41f",
    ),
    (
        "a45e643deddd390d37b9f7e100000000",
        "www",
        Some("5323036a08e6c0f4886b812b00000000"),
        327680,
        "84f9bc8c3e19545a496284646285267e",
    ),
    (
        "fae0babe5a22175af615886600000000",
        "db",
        Some("f5be9460ffeb9ff179b2791d00000000"),
        19660800,
        "b468ed6c5eb277ed5fd084f965569505",
    ),
];

/// A point that was forgotten.
const FORGOTTEN: &str = "5323036a08e6c0f4886b812b00000000";

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/golden/v1/repository"]
        .iter()
        .collect()
}

#[tokio::test]
async fn the_crate_reads_what_version_1_wrote() {
    let store = Arc::new(DirectoryStore::open(folder()).unwrap());
    for secret in [
        repository::Secret::parse_key_file(KEY_FILE).unwrap(),
        repository::Secret::passphrase(PASSPHRASE).unwrap(),
    ] {
        let repository = Repository::open(store.clone(), &secret).await.unwrap();
        let listed = repository.points().await.unwrap();
        assert!(listed.damaged.is_empty());
        assert!(
            listed
                .points
                .iter()
                .all(|point| point.id.to_string() != FORGOTTEN)
        );
        assert_eq!(listed.points.len(), POINTS.len());
        let mut structure = Structure::new(&repository, 1 << 20);
        for (point, (id, series, parent, bytes, expected)) in
            listed.points.iter().zip(POINTS.iter().copied())
        {
            let found = point.manifest.parent.map(|parent| parent.to_string());
            assert_eq!(
                (point.id.to_string().as_str(), found.as_deref()),
                (id, parent)
            );
            assert_eq!(
                (point.manifest.series.as_str(), point.bad, point.sibling),
                (series, false, false)
            );
            assert!(
                structure.point(point).await.unwrap(),
                "{id}: {:?}",
                structure.damage().collect::<Vec<_>>()
            );
            let volume = read_volume(&repository, point).await;
            assert_eq!(
                (volume.len(), fingerprint(&volume).as_str()),
                (bytes, expected)
            );
        }
    }
}

#[test]
fn the_second_reader_reads_what_version_1_wrote() {
    for secret in [Secret::KeyFile(KEY_FILE), Secret::Passphrase(PASSPHRASE)] {
        let reader = SecondReader::open(&folder(), secret).unwrap();
        let points = reader.points().unwrap();
        assert_eq!(points.len(), POINTS.len());
        for ((sid, manifest), (id, series, _, bytes, expected)) in
            points.iter().zip(POINTS.iter().copied())
        {
            assert_eq!((sid.as_str(), manifest.text(0).unwrap()), (id, series));
            let volume = reader.restore(manifest).unwrap();
            assert_eq!(
                (volume.len(), fingerprint(&volume).as_str()),
                (bytes, expected)
            );
        }
        assert!(reader.register(FORGOTTEN).is_ok(), "forgotten, not gone");
    }
}
