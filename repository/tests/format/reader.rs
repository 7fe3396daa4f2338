//! Reads small volumes through the crate's public functions, without the pipeline of the agent.

use repository::{
    Opener, Point, Repository,
    fetch::{plan, within},
    layout::PackKind,
    map::{FANOUT, MapReader},
};

/// All of a volume.
pub(crate) async fn read_volume(repository: &Repository, point: &Point) -> Vec<u8> {
    let map = point.manifest.volume.expect("a point of a volume");
    let chunk_bytes = usize::try_from(map.chunk_bytes()).expect("at most 4 MiB");
    let chunks = usize::try_from(map.chunk_count()).expect("volumes here are small");
    let mut volume = vec![0; chunks * chunk_bytes];
    let mut reader = MapReader::new(map, repository.pages());
    let numbers: Vec<u64> = (0..map.chunk_count().div_ceil(FANOUT)).collect();
    let leaves = reader.leaves(&numbers).await.expect("leaves are there");
    let mut opener = Opener::default();
    for leaf in leaves.into_iter().flatten() {
        let (indexes, references): (Vec<u64>, Vec<_>) = leaf
            .page
            .entries()
            .map(|(index, entry)| (index, entry.reference))
            .unzip();
        for piece in plan(&references, 1 << 20) {
            let bytes = repository
                .read_piece(PackKind::Data, &piece)
                .await
                .expect("packs are there");
            for member in &piece.members {
                let reference = &references[*member];
                let start = usize::try_from(indexes[*member]).expect("small") * chunk_bytes;
                let pack = repository
                    .pack_opener(PackKind::Data, reference)
                    .expect("the key is there");
                let plain = &mut volume[start..start + chunk_bytes];
                pack.open(
                    &mut opener,
                    reference,
                    within(&piece, &bytes, reference),
                    plain,
                )
                .expect("a whole chunk");
            }
        }
    }
    volume.truncate(usize::try_from(map.volume_bytes).expect("small"));
    volume
}
