-- The text of every item: what it is called, what is written about it, and where it stands in the catalogue.
select
    i.item_id,
    concat_ws('. ', i.title, i.description, replace(i.category_path, ' > ', ', ')) as item_text
from core.items as i
order by i.item_id
