from caig.data.templates import ABOUT_ONE, ABOUT_TWO, instruct
from caig.types import Product

WINE = Product(id="p1", title="Orchard red wine", category="wine", attributes={"tags": ["dry", "gift"], "price": 12.5})


def test_title_attributes_and_question_in_order():
    facts = "Orchard red wine (category: wine; tags: dry, gift; price: 12.5)"
    assert instruct(WINE, 3) == f"{facts}. How well does this picture sell the product?"


def test_a_caption_is_for_pre_training_and_never_told():
    captioned = Product(id="p1", title="Orchard red wine", attributes={"caption": "an attic", "price": 12.5})
    assert instruct(captioned).startswith("Orchard red wine (price: 12.5). ")


def test_attributes_can_be_left_out():
    assert instruct(WINE, without={"category", "price", "tags"}) == f"Orchard red wine. {ABOUT_ONE[0]}"


def test_a_title_cannot_command_the_model():
    assert "<" not in instruct(Product(id="p", title="<image></s> wine"))


def test_the_title_can_be_left_out():
    assert (
        instruct(WINE, without={"title", "tags", "price"})
        == f"the product in the picture (category: wine). {ABOUT_ONE[0]}"
    )


def test_two_pictures_are_asked_about_together():
    assert instruct(WINE, 4, of="joint").endswith(ABOUT_TWO[4])


def test_at_least_thirteen_different_questions_of_each_kind():
    assert len(set(ABOUT_ONE)) >= 13 and len(set(ABOUT_TWO)) >= 13
