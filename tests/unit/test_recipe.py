from config.settings import SizeSettings, ThumbnailSettings
from tasks.recipe import Recipe, WantedSize, recipe_from


def test_the_default_recipe_is_three_jpeg_boxes() -> None:
    recipe = recipe_from(ThumbnailSettings())
    assert [size.label for size in recipe.sizes] == ["1280x1280", "640x640", "200x200"]
    assert {(size.fit, size.format, size.suffix, size.quality) for size in recipe.sizes} == {
        ("contain", "jpeg", "jpg", 82)
    }
    assert recipe.background == (255, 255, 255)


def test_a_size_may_have_its_own_fit_format_and_quality() -> None:
    own = SizeSettings.model_validate({"size": "300x200", "fit": "cover", "format": "webp", "quality": 55})
    recipe = recipe_from(ThumbnailSettings(sizes=(own,), background="#0a0bFF"))
    assert recipe == Recipe((WantedSize(300, 200, "cover", "webp", 55),), (10, 11, 255))
    assert recipe.sizes[0].suffix == "webp"


def test_a_size_without_its_own_subsampling_and_progression_takes_the_sections() -> None:
    plain, own = (SizeSettings.model_validate(size) for size in ("9x9", {"size": "8x8", "progressive": False}))
    section = ThumbnailSettings(sizes=(plain, own), subsampling="4:4:4", progressive=True, keep=("copyright",))
    recipe = recipe_from(section)
    assert [(size.subsampling, size.progressive) for size in recipe.sizes] == [("4:4:4", True), ("4:4:4", False)]
    assert recipe.keep == ("copyright",)


def test_the_fingerprint_changes_with_everything_that_changes_bytes() -> None:
    size = WantedSize(100, 100, "contain", "jpeg", 80)
    others = (
        Recipe((size,), (0, 0, 0)),
        Recipe((WantedSize(101, 100, "contain", "jpeg", 80),), (255, 255, 255)),
        Recipe((WantedSize(100, 101, "contain", "jpeg", 80),), (255, 255, 255)),
        Recipe((WantedSize(100, 100, "cover", "jpeg", 80),), (255, 255, 255)),
        Recipe((WantedSize(100, 100, "contain", "webp", 80),), (255, 255, 255)),
        Recipe((WantedSize(100, 100, "contain", "jpeg", 81),), (255, 255, 255)),
        Recipe((WantedSize(100, 100, "contain", "jpeg", 80, "4:4:4"),), (255, 255, 255)),
        Recipe((WantedSize(100, 100, "contain", "jpeg", 80, "4:2:0", progressive=True),), (255, 255, 255)),
        Recipe((size,), (255, 255, 255), ("copyright",)),
        Recipe((size, WantedSize(50, 50, "contain", "jpeg", 80)), (255, 255, 255)),
    )
    prints = {recipe.fingerprint for recipe in (Recipe((size,), (255, 255, 255)), *others)}
    assert len(prints) == 1 + len(others)
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in prints)


def test_the_fingerprint_does_not_change_with_the_order_of_sizes() -> None:
    one, two = WantedSize(100, 100, "contain", "jpeg", 80), WantedSize(50, 50, "cover", "png", 80)
    assert Recipe((one, two), (0, 0, 0)).fingerprint == Recipe((two, one), (0, 0, 0)).fingerprint


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    # A changed value makes every installation remake every thumbnail: only a new ENGINE may do that.
    assert recipe_from(ThumbnailSettings()).fingerprint == "b5eadcc9e22bc762"
