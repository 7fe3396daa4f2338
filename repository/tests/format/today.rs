//! What the crate writes today, the second reader reads.

use std::sync::Arc;

use repository::{CreateOptions, Repository, Secret, store::DirectoryStore};

use crate::{
    apply,
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
    // A wrong secret opens nothing.
    let wrong = Secret::draw_key_file().key_file_text().unwrap();
    assert!(SecondReader::open(folder.path(), second_reader::Secret::KeyFile(&wrong)).is_err());
}
