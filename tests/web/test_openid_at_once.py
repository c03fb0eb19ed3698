"""What meets at the same moment in a sign-on of the chat: nobody gets in by it, nobody is told to come later."""

import asyncio

from tests.web.conftest import House
from tests.web.test_openid import chat_is_good, signed_on

ROUNDS = 5


async def test_of_two_last_sign_ons_that_end_at_the_same_time_no_key_is_left(house: House) -> None:
    ada, chat, _ = await signed_on(house)
    phone = house.browser("198.51.100.1")
    await phone.sign_in()
    for _ in range(ROUNDS):
        await chat.sign_on(phone)
        await asyncio.gather(ada.post("/sign-out"), phone.post("/sign-out"))
        assert not await chat_is_good(house)
        await ada.sign_in()
        await phone.sign_in()
        await chat.sign_on(ada)


async def test_a_sign_on_that_takes_the_place_of_one_that_refreshes_is_answered_and_so_is_the_other(
    house: House,
) -> None:
    ada, chat, made = await signed_on(house)
    for _ in range(ROUNDS):
        code = await chat.code(ada)
        redeemed, refreshed = await asyncio.gather(chat.redeem(code), chat.refresh(made["refresh_token"]))
        assert redeemed.status_code == 200
        assert refreshed.status_code in (200, 400)
        made = redeemed.json()
        assert (await chat.refresh(made["refresh_token"])).status_code == 200
        house.clock.turn(seconds=1)
        made = await chat.sign_on(ada)


async def test_of_two_codes_of_a_session_that_are_used_at_the_same_time_one_goes_on(house: House) -> None:
    ada, chat, _ = await signed_on(house)
    for _ in range(ROUNDS):
        codes = [await chat.code(ada) for _ in range(3)]
        answers = await asyncio.gather(*(chat.redeem(code) for code in codes))
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        again = [(await chat.refresh(answer.json()["refresh_token"])).status_code for answer in answers]
        assert sorted(again) == [200, 400, 400]


async def test_whoever_signs_out_while_the_chat_signs_on_anew_is_out(house: House) -> None:
    ada, chat, made = await signed_on(house)
    for _ in range(ROUNDS):
        code = await chat.code(ada)
        redeemed, gone, refreshed = await asyncio.gather(
            chat.redeem(code), ada.post("/sign-out"), chat.refresh(made["refresh_token"])
        )
        assert gone.status == 200
        assert {redeemed.status_code, refreshed.status_code} <= {200, 400}
        assert not await chat_is_good(house)
        assert (await ada.get("/dashboard")).path == "/sign-in"
        await ada.sign_in()
        made = await chat.sign_on(ada)


async def test_signing_out_of_the_chat_everywhere_meets_a_sign_on_and_both_are_done(house: House) -> None:
    ada, chat, _ = await signed_on(house)
    for _ in range(ROUNDS):
        code = await chat.code(ada)
        redeemed, ended = await asyncio.gather(chat.redeem(code), ada.post("/keys/chat/end"))
        assert (ended.status, redeemed.status_code in (200, 400)) == (200, True)
        await chat.sign_on(ada)
