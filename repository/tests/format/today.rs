//! What the crate writes today, the second reader reads, and neither reader needs an index for it.

use std::{fs, path::Path, sync::Arc};

use repository::{CreateOptions, Repository, Secret, store::DirectoryStore};

use crate::{
    apply,
    reader::read_volume,
    second_reader::{self, SecondReader},
    steps, writer,
};

#[tokio::test]
async fn a_reader_written_from_the_page_restores_what_is_written_now() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryStore::open(folder.path()).unwrap());
    let secret = Secret::draw_key_file();
    let options = CreateOptions::default();
    let repository = Repository::create(store, &secret, &options).await.unwrap();
    let passphrase = Secret::passphrase("correct horse\n").unwrap();
    repository.add_slot(&passphrase, "mine").await.unwrap();

    let mut volume = Vec::new();
    let mut expected = Vec::new();
    for (bytes, changes) in &steps() {
        let point = writer::write_point(&repository, "db", *bytes as u64, changes)
            .await
            .unwrap();
        apply(&mut volume, *bytes, changes);
        expected.push((point.id.to_string(), volume.clone()));
    }

    let text = secret.key_file_text().unwrap();
    for secret in [
        second_reader::Secret::KeyFile(&text),
        second_reader::Secret::Passphrase("correct horse"),
    ] {
        let reader = SecondReader::open(folder.path(), secret).unwrap();
        let points = reader.points().unwrap();
        assert_eq!(points.len(), expected.len());
        for ((sid, manifest), (id, volume)) in points.iter().zip(&expected) {
            assert_eq!(sid, id);
            assert!(reader.restore(manifest).unwrap() == *volume, "{sid}");
        }
        for pack in second_reader::names(folder.path(), "d/default/p/") {
            assert!(!reader.slots(&pack).unwrap().is_empty());
        }
    }
    without_what_is_not_needed(folder.path(), &text);
    let reader = SecondReader::open(folder.path(), second_reader::Secret::KeyFile(&text)).unwrap();
    let listed = repository.points().await.unwrap();
    let points = reader.points().unwrap();
    assert_eq!(points.len(), expected.len());
    for ((point, (_, manifest)), (_, volume)) in listed.points.iter().zip(&points).zip(&expected) {
        assert!(reader.restore(manifest).unwrap() == *volume);
        assert!(read_volume(&repository, point).await == *volume);
    }
    // A wrong secret opens nothing.
    let wrong = Secret::draw_key_file().key_file_text().unwrap();
    assert!(SecondReader::open(folder.path(), second_reader::Secret::KeyFile(&wrong)).is_err());
}

/// Takes away all that a restore does not need: indexes, and headers, slot tables and trailers of packs.
fn without_what_is_not_needed(folder: &Path, key_file: &str) {
    let reader = SecondReader::open(folder, second_reader::Secret::KeyFile(key_file)).unwrap();
    for kind in ["p", "m"] {
        for name in second_reader::names(folder, &format!("d/default/{kind}/")) {
            let slots = reader.slots(&name).unwrap();
            let (first, last) = (&slots[0], &slots[slots.len() - 1]);
            let mut pack = fs::read(folder.join(&name)).unwrap();
            pack[..first.offset as usize].fill(0);
            pack.truncate((last.offset + last.stored) as usize);
            fs::write(folder.join(name), pack).unwrap();
        }
    }
    fs::remove_dir_all(folder.join("d/default/i")).unwrap();
}
