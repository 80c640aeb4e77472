-- What is promoted where, in what way and when. What several landed rows say is put together: places are sets, so that
-- what is said twice counts once, and the order in which files landed counts for nothing.
with keyed as (
    select
        c.item_id,
        c.valid_from_utc,
        c.valid_until_utc,
        c.day,
        c.display,
        c.mailer,
        coalesce(c.display, '') as display_key,
        coalesce(c.mailer, '') as mailer_key,
        c.places,
        c.input_version
    from promotions_checked as c
    where c.reason is null
),
said_again as (
    select k.item_id, k.valid_from_utc, k.valid_until_utc, k.display_key, k.mailer_key
    from keyed as k
    group by k.item_id, k.valid_from_utc, k.valid_until_utc, k.display_key, k.mailer_key
    having count(*) > 1
),
joined as (
    select k.*, a.item_id is not null as is_said_again
    from keyed as k
    left join said_again as a
        on k.item_id = a.item_id and k.valid_from_utc = a.valid_from_utc and k.valid_until_utc = a.valid_until_utc
        and k.display_key = a.display_key and k.mailer_key = a.mailer_key
),
whole as (
    select j.item_id, j.valid_from_utc, j.valid_until_utc, j.day, j.display, j.mailer, j.places, j.input_version
    from joined as j
    where not j.is_said_again
    union all
    select
        j.item_id,
        j.valid_from_utc,
        j.valid_until_utc,
        j.day,
        j.display,
        j.mailer,
        list_sort(list_distinct(flatten(list_sort(array_agg(j.places))))) as places,
        j.input_version
    from joined as j
    where j.is_said_again
    group by j.item_id, j.valid_from_utc, j.valid_until_utc, j.day, j.display, j.mailer, j.input_version
)
select w.item_id, w.valid_from_utc, w.valid_until_utc, w.day, w.display, w.mailer, w.places, w.input_version
from whole as w
order by w.day, w.item_id, w.valid_until_utc, w.valid_from_utc, w.display, w.mailer
