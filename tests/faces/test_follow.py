import numpy as np

from edgefer.faces.face import Face
from edgefer.faces.follow import Follower


def box(x, y, side=40.0):
    return Face(x, y, side, side)


def identities(follower, faces, time_s):
    return [identity for identity, _ in follower.found(faces, time_s)]


def test_faces_keep_their_identities_whatever_order_they_are_found_in():
    follower = Follower()
    assert identities(follower, [box(0, 0), box(100, 0)], 0.0) == [1, 2]
    assert identities(follower, [box(95, 2), box(4, 1)], 0.1) == [2, 1]


def test_a_face_that_was_out_of_sight_is_the_same_for_a_while_and_then_another():
    follower = Follower()
    assert identities(follower, [box(0, 0)], 0.0) == [1]
    assert identities(follower, [], 1.0) == []
    assert identities(follower, [box(5, 0)], 1.9) == [1]
    assert identities(follower, [box(5, 0)], 4.5) == [2]


def test_a_face_that_moves_fast_is_followed_by_its_middle():
    follower = Follower()
    assert [identities(follower, [box(x, 0)], x / 100)[0] for x in range(0, 200, 36)] == [1] * 6


def test_far_away_is_somebody_else_and_so_is_one_of_another_size():
    follower = Follower()
    assert identities(follower, [box(0, 0)], 0.0) == [1]
    assert identities(follower, [box(150, 0)], 0.1) == [2]
    assert identities(follower, [box(10, 10, 12)], 0.2) == [3]


def test_two_that_cross_do_not_take_one_identity():
    follower = Follower()
    for step in range(21):
        found = identities(follower, [box(10.0 * step, 0), box(200 - 10.0 * step, 25)], step / 30)
        assert len(set(found)) == 2
    assert set(found) == {1, 2}


def test_between_detections_flow_carries_boxes_on():
    texture = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)

    def shown(shift):
        return np.ascontiguousarray(texture[:160, 40 - shift : 200 - shift])

    follower = Follower()
    follower.found([box(60, 60)], 0.0)
    follower.see(shown(0))
    for step in (1, 2, 3):
        ((identity, face),) = follower.carried(shown(3 * step), step / 30)
        assert identity == 1
        assert abs(face.x - 60 - 3 * step) < 0.75 and abs(face.y - 60) < 0.75


def test_without_a_face_there_is_nothing_to_carry():
    follower = Follower()
    follower.found([], 0.0)
    follower.see(np.zeros((20, 20, 3), np.uint8))
    assert follower.carried(np.zeros((20, 20, 3), np.uint8), 0.1) == []
