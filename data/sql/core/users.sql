-- Known persons with declared attributes and consent; a shop that does not ask has everybody's. Whose only row has a
-- consent that cannot be read, or no key of it, is known as somebody who refuses.
with known as (
    select
        c.user_id,
        coalesce(c.attributes, '{}') as attributes,
        c.consents as consent
    from users_checked as c
    where c.reason is null
),
unread as (
    select c.user_id
    from users_checked as c
    where (c.reason = 'unparsable_consent' or (c.reason = 'missing_key' and not c.consents)) and c.user_id is not null
    group by c.user_id
)
select k.user_id, k.attributes, k.consent
from known as k
union all
select u.user_id, '{}' as attributes, false as consent
from unread as u
left join known as k on u.user_id = k.user_id
where k.user_id is null
order by user_id
