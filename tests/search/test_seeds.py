from search.seeds import Stream, derive


def test_seeds_are_fixed_by_their_arguments():
    assert derive(0, Stream.TRIAL, 3) == derive(0, Stream.TRIAL, 3)
    assert derive(0, Stream.TRIAL, 0) == 1976665982, "a change of the derivation would change every recorded study"


def test_seeds_differ_between_studies_streams_and_places():
    seeds = {derive(study, stream, trial_index) for study in range(3) for stream in Stream for trial_index in range(50)}
    assert len(seeds) == 3 * len(Stream) * 50
    assert all(0 <= seed < 2**31 for seed in seeds)
