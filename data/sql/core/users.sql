-- Known persons with declared attributes and consent; a shop that does not ask has everybody's.
select
    c.user_id,
    coalesce(c.attributes, '{}') as attributes,
    c.consents as consent
from users_checked as c
where c.reason is null
order by c.user_id
