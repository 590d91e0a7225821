import cv2
import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.evaluation.targets import find_targets
from edgefer.images import open_images
from edgefer.spec import Spec
from tests.evaluation.tiny import SPEC

WHOLE = Spec.from_dict(SPEC)
FACES = 6


@pytest.fixture
def find(save, tmp_path):
    """Targets of an image set with further arrays and, perhaps, the text of a CSV file."""

    def targets(table=None, spec=WHOLE, **arrays):
        path = tmp_path / "targets.csv"
        if table is not None:
            path.write_text(table)
        return find_targets(open_images(save(FACES, **arrays)), spec, path if table is not None else None)

    return targets


def test_a_table_is_matched_by_file_and_column_name(find):
    targets = find("file,Arousal,valence,AU12\n3,0.5,-1,1\n0,,0.25,0\n")
    affect = targets.heads["affect"].values
    assert affect[3].tolist() == [-1, 0.5]
    assert affect[0, 0] == 0.25
    assert np.isnan(affect[0, 1])
    assert np.isnan(affect[[1, 2, 4, 5]]).all()
    assert targets.heads["units"].values[[0, 3], 1].tolist() == [0, 1]
    assert np.isnan(targets.heads["units"].values[:, [0, 2]]).all()
    assert "targets.csv: 4 images have no row" in targets.notes
    assert "valence: 4 of 6 images have no target" in targets.notes


def test_classes_that_lie_deeper_are_found_for_the_user(tmp_path):
    for index, folder in enumerate(("train/happy", "train/sad", "test/happy")):
        (tmp_path / "set" / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "set" / folder / "a.png"), np.full((4, 4), index, np.uint8))
    with pytest.raises(InputError, match=r"none of its classes \(test, train\)") as caught:
        find_targets(open_images(tmp_path / "set"), WHOLE)
    assert caught.value.remedy == "The network's classes lie deeper: evaluate on set/test."


def test_strange_rows_and_columns_of_a_table_are_reported(find):
    notes = find("file,valence,gender\n0,0.1,f\nnobody.png,0.2,m\n").notes
    assert "targets.csv: column gender is no label of the network" in notes
    assert any("1 rows name no image" in note for note in notes)


def test_an_image_in_a_class_folder_is_found_by_its_file_name(tiny, tmp_path, save):
    images = open_images(save(2))
    renamed = type(images)(images.source, ("angry/a.png", "happy/b.png"), images.digests, images.reader)
    table = tmp_path / "t.csv"
    table.write_text("file,valence\nb.png,0.5\nangry/a.png,-0.5\n")
    assert find_targets(renamed, WHOLE, table).heads["affect"].values[:, 0].tolist() == [-0.5, 0.5]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,valence\n0,1\n", "no targets for this network among its columns"),
        ("file,gender\n0,f\n", "no targets for this network among its columns"),
        ("", "no targets for this network among its columns"),
        ("file,valence\n0,high\n", r"line 2, column 'valence': 'high' is not a number"),
        ("file,valence\n0,1\n0,0\n", "line 3 states '0' a second time"),
        ("file,valence\nx,1\n", "names none of the images"),
        ('file,valence\n"0,1\n', "not a readable CSV file"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(find, table, message):
    with pytest.raises(InputError, match=message):
        find(table)


def test_a_table_that_is_not_there_is_named(save, tmp_path):
    with pytest.raises(InputError, match=r"none\.csv"):
        find_targets(open_images(save(2)), WHOLE, tmp_path / "none.csv")


def test_values_that_cannot_be_are_left_out_and_counted(find):
    targets = find(
        valence=np.array([0, 1, -1, -2, np.inf, np.nan]),
        au=np.array([[0, 1, 9]] * FACES),
        au_columns=np.array(["AU1", "AU12", "AU25"]),
    )
    assert targets.heads["affect"].values[:, 0].tolist()[:3] == [0, 1, -1]
    assert np.isnan(targets.heads["affect"].values[3:, 0]).all()
    assert "valence: 1 of 6 images have no target; 2 outside [-1, 1] are left out" in targets.notes
    assert "AU25: 0 of 6 images have no target; 6 outside [0, 1] are left out" in targets.notes


def test_action_units_without_names_are_taken_in_the_networks_order_and_said_so(find):
    targets = find(au=np.eye(6, 3))
    assert np.array_equal(targets.heads["units"].values, np.eye(6, 3))
    assert targets.notes[0] == "`au` has no `au_columns`: its columns are taken to be AU1, AU12, AU25"


def test_action_units_that_cannot_be_named_are_refused(find):
    with pytest.raises(InputError, match="one name per column"):
        find(au=np.eye(6, 4))


def test_votes_are_matched_by_name_and_counted_per_class(find):
    columns = np.array(["neutral", "happiness", "anger", "sadness", "contempt"])
    votes = np.array(
        [[5, 5, 0, 0, 0], [1, 6, 0, 0, 3], [0, 1, 0, 0, 9], [0, 0, 0, 0, 0], [0, 0, 8, 2, 0], [3, 0, 0, 3, 4]]
    )
    targets = find(ferplus_votes=votes, ferplus_columns=columns)
    head = targets.heads["expression"]
    assert head.majority.tolist() == [-1, 1, -1, -1, 0, -1]
    assert head.votes[0] == pytest.approx([0, 0.5, 0.5, 0])
    assert head.votes[1] == pytest.approx([0, 6 / 7, 1 / 7, 0])
    assert head.votes[4] == pytest.approx([0.8, 0, 0, 0.2])
    assert np.isnan(head.votes[3]).all()
    assert "no class of the network is contempt; 1 images have no vote" in targets.notes[0]
    assert "and 4 no majority" in targets.notes[0]


@pytest.mark.parametrize(
    ("votes", "columns", "message"),
    [
        (np.ones((FACES, 2)), None, "one name per column"),
        (np.ones((FACES, 2)), ["happy"], "one name per column"),
        (-np.ones((FACES, 1)), ["happy"], "no counts of votes"),
        (np.full((FACES, 1), np.nan), ["happy"], "no counts of votes"),
    ],
)
def test_malformed_votes_are_refused(find, votes, columns, message):
    arrays = {} if columns is None else {"ferplus_columns": np.array(columns)}
    with pytest.raises(InputError, match=message):
        find(ferplus_votes=votes, **arrays)


def test_classes_of_a_network_that_chooses_none_are_reported_unused(find):
    affect = Spec.from_dict({**SPEC, "outputs": SPEC["outputs"][1:]})
    targets = find(spec=affect, labels=np.zeros(FACES, int), label_names=np.array(["happy"]))
    assert targets.notes == ("the images' classes are not used: no head of the network chooses a class",)
